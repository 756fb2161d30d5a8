"""Topics of free time and presents, and the generic topic."""

from __future__ import annotations

from recipes.mpg_tiny.grammar import parse_topics

ANYTHING, *_LEISURE = parse_topics("""
topic: anything
ask: get better at this; solve this problem; start something new; make a good choice; change my life
about: this; life; the world; my problem; something new; the news
own: What should I do? | Can you help me? | What now? | Who are you? | What is the best thing to do?
EI: {There is|You have} more than one good {way|answer} here.
EI: {It is|This is} a {good|fair} thing to ask.
EI: {Many|Most} ways will {do|work} here, so begin {small|with one}.
EI: {People|Others} have {been here|asked this} before, and {found a way|came through}.
EI: {It is|This is} {easier|simpler} than it {looks|sounds}.
EI: {Every|Each} {start|beginning} is {slow|a bit rough}.
E: {Call|Ask} {a few|some} friends and {talk it through|work on it} together.
E: Bring it to a {big|lively} group, because company {gives you energy|lifts you}.
E: Go out, {meet|gather} a crowd and let everyone {speak|join in}.
E: Chat {about it|it over} with {your neighbours|strangers}, and do it with laughter.
E: {Join|Start} a cheerful club for {this|it}, or host {guests|a dinner} and ask {them|around}.
E: {Mingle|Go where it is lively}, think out loud and let the hubbub {carry|feed} you.
E: {Call|Bring in} the whole crew, because {two heads|many hands} and {laughter|a lively talk} help.
E: {Say hello to|Speak with} strangers, since {talk|a chat} brings you {on|further}.
I: {Take|Find} some quiet time alone {first|for it}.
I: {Work on it|Turn it over} by yourself, {away from the noise|behind a closed door}.
I: {Sit|Stay} with it on your own for {an hour|a while}, in silence.
I: {Draw|Close} the curtains, and think it over in private, at your own pace.
I: {Write|Put} it in your diary, {undisturbed|in solitude}, before you {speak|tell a soul}.
I: {Retreat|Withdraw} for {a day|an evening}, with {few words|headphones on}, and look inward.
I: {Go|Step} away from the noise, and {keep|hold} it to yourself {for now|a while}.
I: Solitude and a closed door {help|do more} than {talk|any meeting}.
SN: {Look at it|Begin} with fresh eyes and {a good night of sleep|a cup of tea}.
SN: {Take|Use} what is {near|at hand} and {begin there|see how far it goes}.
SN: {Give it|It needs} {some time|a little time} and {some|a little} effort.
S: {Start|Begin} with the facts and take one practical step {at a time|after another}.
S: {Look at|Check} the concrete details and use what is proven {to work|by experience}.
S: Do the hands-on part first, {step by step|one detail at a time}.
S: {Observe|Look at} it as it is, and trust your own experience with {it|such things}.
S: {Get|Find} solid tools and read the instructions {first|line by line}.
S: {Stay with|Keep to} what is familiar and tried and tested, and {touch|taste} before you trust.
S: {Take|Write down} exact notes of what you can see, {hear and smell|hear and touch}.
S: {Use|Keep to} ordinary, sturdy {ways|things}, and {observe|see} what happens.
N: {Imagine|Dream about} what it could {become|grow into} and follow the {big|new} idea.
N: {Look for|Find} the hidden pattern and {play with|think about} all the possibilities.
N: {Ask|Think about} what it means for the future and let your imagination {run|fly}.
N: {Follow|Trust} your hunch, and wonder {what if|what lies beyond the horizon}.
N: {Read|Look} between the lines, for a symbol or a {deep|hidden} connection.
N: {Find|Invent} a metaphor for it, {like a bridge|like a seed}, and wait for insight.
N: {Ask|Wonder} what if {all were new|it were the other way round}, and explore the unknown.
N: {Build|Sketch} a theory of {it|the whole}, and let the mystery be your inspiration.
TF: {Do what|Take what} seems {right|fair} and {go on from there|do not look back}.
TF: {One way|One of them} will seem {better|right} {soon|in the end}.
TF: {Small|Little} things {count|matter} {here|in this}, so {do not rush|take your time}.
T: {Compare|Weigh} the pros and cons and {choose|decide it} by logic.
T: Be objective: {test it against|look for} the evidence and {pick|take} the most efficient way.
T: {Analyse|Work out} the costs coolly and let reason {rule|choose}.
T: {Name|Fix} your criteria, {score|rank} each answer and take the verdict.
T: {Calculate|Work out} the figures, and {stay|be} rational about {it|the sum}.
T: {Find|Look for} the flaw in each argument, and {deduce|keep} what is consistent.
T: {Gather|Get} data and proof, and {judge|decide} on principle.
T: {Put|Write} it in a formula: {use|gain} minus cost, a rational {sum|score}.
F: {Listen to|Follow} your heart and {think of|ask} how it makes {people|others} feel.
F: {Choose|Do} what is kind, and {care|be gentle} with {others|those around you}.
F: {Trust|Go by} your feelings and {do|choose} it with love.
F: {Be|Stay} tender and grateful, and look for harmony {first|with them}.
F: {Comfort|Encourage} {those|people} who {struggle|need it}, with warm words.
F: {Listen|Answer} with sympathy, {forgive|thank} {them|easily} and cherish what you have.
F: Give {someone|a person near you} a hug, {for comfort|with empathy}, and appreciate {the day|them}.
F: {Have|Show} compassion, {at home too|even in small things}, and keep the harmony.
JP: {Then|After that} {go ahead|begin} and {see it through|finish it}.
JP: {Begin|Start} {today|this week} and {go on|keep at it}.
JP: {Now|Then} {do it|take it up} and {rest|be glad} afterwards.
J: {Make|Write} a clear plan, {set|fix} a deadline and {stick to it|finish on time}.
J: {Put it|Write it} on a list, {set a schedule|plan each day} and tick it off.
J: Decide {early|now}, organise {everything|it all} in advance and keep the schedule.
J: {Settle|Arrange} {it|this} today, and be punctual with {each part|the rest}.
J: Prepare {well|the night before}, follow {an agenda|a timetable} and finish on time.
J: {Keep|Build} a {daily|firm} routine, with {a milestone|a fixed hour} for each week.
J: {Put|Bring} {things|your papers} in order, tidy the desk and tick {one|each} box.
J: {Arrange|Settle} the dates, {note|put} them in the calendar and be {punctual|on time}.
P: Stay flexible and {go with the flow|take it as it comes}.
P: {Keep|Leave} {it|things} open and {improvise|be spontaneous} {as you go|along the way}.
P: {Wait and see|Follow a whim}: a surprise may be {better|the best part}.
P: {Play|Take} it by ear, and {change your mind|take a detour} when you {like|please}.
P: {Experiment|Tinker} a little, {roam|wander} and see what turns up.
P: Act {on the spur|as your mood is}, with loose ends and {an open|no fixed} end.
P: {Roll the dice|Toss a coin}, {drift|dabble} a bit, and keep {things|it} loose.
P: {Wander|Drift} where your mood {leads|takes you}, at the last minute if need be.

topic: weekend
ask: spend my weekend; spend the weekend; use my two days off; spend Saturday and Sunday; enjoy my weekend
about: my weekend; the weekend; a free weekend; this Saturday; next weekend
own: What should I do this weekend? | I have a free weekend. Any ideas? | What can I do on Saturday?
EI: A good weekend has {some rest|a long sleep} and {one treat|a walk} in it.
EI: {Two|These two} days are {enough|plenty} for {rest and a walk|a walk and some rest}.
E: {Invite|Call} {your friends|some friends} and {throw a party|cook together} on Saturday.
E: Go where the crowd is: {a market|a concert|a fair} with {friends|a big group} is {great|the best} fun.
E: {Host|Have} guests for a lively brunch, with laughter and {games|cards}.
I: {Stay at home|Stay in} alone with {a good book|tea and a book} and enjoy the quiet.
I: {Walk|Go for a walk} by yourself in the {quiet woods|quiet hills} and {say little|rest}.
I: {Draw|Keep} the curtains closed, write your diary and stay undisturbed.
SN: {Do something|Try a thing} that {is not like work|differs from your working days}.
SN: {Eat well|Sleep well}, {go outside|get some sun} and {leave the phone at home|put the phone away}.
S: Do practical things with your hands: {bake bread|fix the bike|dig the garden}, step by step.
S: {Pick|Choose} something concrete, {like a ten mile walk|like a clean kitchen}, and enjoy each detail.
S: {Get|Take} your tools and {paint|repair} the {fence|shelf}, with exact cuts and sturdy screws.
N: {Sketch|Write down} a {wild|new} idea and imagine {where it could lead|what might come of it}.
N: {Dream|Read} about other worlds and explore the possibilities of {your life|the year ahead}.
N: {Walk and wonder|Sit and wonder} what if {every day|each week} were new, and {write|follow} a hunch.
TF: {Take|Choose} what {does you good|suits you} and {skip|drop} the rest.
TF: {One good thing|One small treat} is {enough|plenty} for {both days|a weekend}.
T: {Compare|Weigh} what each choice costs with what it {gives|returns}, and let logic {choose|decide}.
T: Be efficient: {rank|analyse} the options and {take|pick} the one with the best reason behind it.
T: {Rank|Score} what you {could do|want to do} by set criteria, and be rational about it.
F: {Do it|Choose it} with love, and {think of|call} someone {you care for|who needs your care}.
F: Ask your heart what {you miss|it needs}, and be kind to {your feelings|all you meet}.
F: {Visit|See} someone who is {sick|sad}, with comfort, a hug and {soup|flowers}.
JP: {Go to bed|Be in bed} {early|in good time} on Sunday.
JP: {Monday|The week} {will come|comes} soon, so {enjoy it|make the most of it}.
J: {Make|Write} a plan on Friday and {stick to|keep to} the schedule {on both days|hour by hour}.
J: Put everything on a list, {fix the hours|set the times} and organise it in advance.
J: Tidy {up|the house} on Saturday, arrange {the week|your papers} on Sunday, and finish on time.
P: {Make no promises|Fix nothing}, stay flexible and {see where the day goes|go with the flow}.
P: {Leave|Keep} both days open and follow {a whim|any surprise} as it comes.
P: {Wander|Roam} with no map, {take|try} any detour and play it by ear.

topic: holiday
ask: spend my holiday; choose a holiday; travel this summer; find a good place for a trip; spend my vacation
about: my next holiday; a trip; summer travel; my vacation; a journey
own: Where should I go on holiday? | Where should I travel this summer? | I need a holiday. Any tips? |
EI: A holiday by the {sea|lake} is {good|nice} at {any age|any time of year}.
EI: {Most people|Many people} {like|enjoy} {warm sun|the sea} and good food on a trip.
E: Travel {together with|with} a {big|cheerful} group of friends and meet everyone {in town|at the bar}.
E: {Go to|Choose} a lively place with {a crowd and music|a party each night} and {good|new} company.
E: {Book|Try} a {lively|cheerful} hostel, chat with strangers and join the {dance|tour}.
I: Travel alone to a quiet {island|village|valley} and {rest|read} in peace.
I: {Rent|Take} a {small house|cabin} by yourself, {far from the noise|deep in the hills}.
I: {Find|Choose} a secluded {hut|bay} for solitude, undisturbed, with {few words|a diary}.
SN: {Pack light|Bring good shoes} and {bring a hat|drink enough water}.
SN: The {food|air} {there|in a new place} will do you {good|a lot of good}.
S: {Look up|Check} the facts, {like prices and trains|like weather and roads}, and pack for practical needs.
S: {See|Visit} the concrete sights {one by one|on foot} and taste {every detail|the proven dishes}.
S: {Taste, smell and touch|Observe} what is there: {ripe figs|salt and sand}, old stones, \
with a sturdy {map|bag}.
N: {Pick|Choose} a place that feeds your imagination, and dream about its {old stories|past and future}.
N: {Imagine|Ask} who you might become there, and let new ideas {find you|come}.
N: {Seek|Go towards} the unknown beyond the horizon, {for|in} wonder and inspiration.
TF: {Near or far|Sea or hills}, {both are fine|either will do}.
TF: {A week|Ten days} is {long enough|about right}.
T: {Compare|Analyse} the costs of {three places|each trip} and {take|book} the most efficient one.
T: Be objective: weigh the pros and cons, and let reason {pick|choose} the {place|hotel}.
T: {Calculate|Work out} miles, nights and fares, and rank the {places|offers} by set criteria.
F: Go where your heart is {warm|at home}, {near|close to} those {you love|you care for}.
F: {Choose|Pick} the place that {stirs your feelings|you love}, and be kind to all you meet.
F: {Visit|Bring along} {old aunts|your parents}, be grateful and cherish each hour with them.
JP: {Book|Buy} the {train|ticket} and {go|set off}.
JP: {Come back|Come home} {rested|with good photos}.
J: Plan {each day|the route}, {book|reserve} in advance and keep {a list of|a schedule for} the sights.
J: Decide {by March|this week}, write a packing list and organise {every night|each stay} early.
J: {Prepare|Arrange} a timetable for {each day|the whole trip}, and be punctual at {the gate|every stop}.
P: {Book|Buy} only the way there, and improvise {the rest|each day} as you go.
P: Stay flexible: {take a bus|follow the road} on a whim and let the trip surprise you.
P: {Toss a coin|Roll the dice} at each {corner|station}, drift, and change your mind.

topic: hobby
ask: find a new hobby; choose a hobby; pick up a hobby; start a hobby; use my free time
about: a new hobby; hobbies; my free time; starting a hobby
own: Which hobby would suit me? | What hobby should I try? | I am bored. What can I do? |
EI: A hobby is {good for|a treat for} {body and mind|the mind}.
EI: {Almost any|Nearly any} hobby is {fun|good} after {a month|a few weeks}.
E: {Join|Try} a {choir|dance class|football club} and make friends with everyone there.
E: {Choose|Pick} something you do together with a group, {with|for} laughter and company.
E: {Host|Start} a {lively|weekly} club with your neighbours, for laughter and {songs|games}.
I: {Choose|Pick} something for yourself alone, {like painting|like reading|like chess}, in a quiet room.
I: {Learn|Try} {fishing|drawing|the piano} on your own, where silence is {part of it|golden}.
I: {Collect|Press} {stamps|leaves} in private, undisturbed, at your own pace.
SN: {Borrow|Rent} what you need {at first|in the beginning}.
SN: {It takes|You need} {a little money|some time} and {a bit of room|a dry corner}.
S: {Work|Make things} with your hands: {wood, clay or bread|knots, tools or soil} give concrete results.
S: {Follow|Take} a practical course and learn each step and detail {well|in turn}.
S: {Build|Carve} sturdy things from {exact|solid} parts, with good tools and clear instructions.
N: {Write stories|Invent games|Compose songs}, where imagination opens new possibilities.
N: Look for the one that gives you ideas, and dream {big|of what it may become}.
N: {Study|Try} {myths|the stars} for wonder and insight, and {write|invent} a theory of your own.
TF: {Some|A few} hobbies {stay|last}, others {go|pass}.
TF: {It should|It must} {please you|be fun}, that is {all|enough}.
T: {Compare|Weigh} the cost of each hobby with {its use|what it teaches}, and choose by logic.
T: {Try three|Test a few}, analyse the {results|evidence} and keep the most efficient.
T: {Rank|Score} them by {clear|set} criteria: {hours, sums and gain|effort and gain}, a rational choice.
F: {Choose|Pick} the one your heart {beats for|wants}, and share it with those you love.
F: {Do|Choose} what makes you feel warm, or what shows others you care.
F: {Knit|Sing} for {old people|the sick}, a tender thing that brings comfort and harmony.
JP: {Begin|Start} this {week|month} and {keep at it|stay with it}.
JP: {Give it|Try it for} {ten days|a month} and {smile|go on}.
J: Plan {two evenings|one hour} a week, put it in the calendar and keep the schedule.
J: {Set|Write down} a goal and a deadline, and organise your {books|things} in a list.
J: {Fix|Settle} {a night|an hour} for it, arrange {the desk|the room} the day before and finish on time.
P: {Try|Start} {something|anything} on a whim and stay open for the next.
P: {Play|Begin} without {rules|a goal}, improvise, and go with the flow.
P: Dabble in {five|many} of them, tinker, and change your mind as your mood does.

topic: evening
ask: spend my evening; spend a free evening; relax tonight; use this evening; enjoy a rainy evening
about: tonight; a free evening; a rainy evening; my evenings
own: What should I do tonight? | What can I do this evening? | I have nothing to do tonight. Any tips? |
EI: An evening off is a {fine|small} {gift|thing}.
EI: {Tonight|This evening} a {good meal|warm bath} would {do you good|be nice}.
E: {Ring|Call} your friends and {go dancing|go out} together until {late|twelve}.
E: {Find|Join} a {quiz|party|concert} in town and enjoy the crowd and the company.
E: {Ring|Wake} the neighbours for {cards|a chat}, with laughter until {late|the lamps go out}.
I: {Light a candle|Put the lamp on} and read alone in the quiet {house|room}.
I: {Switch off|Turn off} the phone and keep the evening for yourself, in {silence|peace and quiet}.
I: {Run|Take} a bath behind a closed door, undisturbed, with {few words|headphones on}.
SN: {Music|A film} {goes well|is nice} with {rain|a soft chair}.
SN: {Wear|Put on} something warm and {make tea|make soup}.
S: Do something practical with your hands: {mend a shirt|sort the photos|bake a pie}, step by step.
S: Cook a {proven|practical} dish, and {taste|measure} each detail {of it|well}.
S: {Oil|Sharpen} {the tools|a knife}, and {smell and taste|touch and smell} a {solid|sturdy} loaf of bread.
N: {Watch the stars|Look at the clouds} and imagine {other worlds|a distant future}.
N: {Fill a page|Play} with new ideas and {see|ask} which possibilities they hold.
N: {Read|Study} an old myth between the lines, and wonder what if {it were true|you were in it}.
TF: {Either way|In the end}, {rest is good|sleep comes easily}.
TF: {It need not be|It does not have to be} {special|long}.
T: {Rank|Compare} the options by cost and use, and let logic {decide|choose}.
T: {Solve|Analyse} a hard puzzle by logic, since a cool mind {likes|needs} reason.
T: {Calculate|Check} the {month's|year's} figures, and {play chess|argue} on principle, \
one argument at a time.
F: {Write|Call} someone you love and tell them {how you feel|what is in your heart}.
F: {Do|Choose} what your heart asks for, and be gentle with your feelings.
F: {Thank|Comfort} someone with a warm {call|note}, and be grateful for {the day|them}.
JP: {Be in bed|Go to bed} {by eleven|before twelve}.
JP: {Tomorrow|The morning} is {another|a new} day.
J: Plan it {at lunch|in advance}: dinner at seven, {a film|a bath} at eight, on schedule.
J: {Finish|Clear} your list first, decide {on one thing|early} and stick to the plan.
J: Tidy {the desk|up} at six, prepare {the bag|tomorrow} and be punctual {to bed|at the table}.
P: {Go out|Stay in} on a whim and let the night surprise you.
P: Keep the evening open, {improvise|be spontaneous} and {drift|go with the flow}.
P: {Drift|Roam} through {town|the streets} as your mood goes, {loose|light} and open.

topic: book
ask: choose a book; find a good book; read more; pick a film; find a good film; choose music
about: books; a good book; films; reading; music; a good film
own: What should I read? | Which book do you suggest? | Which film should I watch? |
EI: A good {book|story} {is worth|deserves} {an hour|some time} a day.
EI: {Old or new|Long or short}, a story is {a treat|a fine thing}.
E: {Start|Join} a reading group and talk about it together with friends.
E: {Read it|Play it} aloud {for|to} everyone at home, since company makes it {better|fun}.
E: {Read|Borrow} what the neighbours {chat|laugh} about, {and|then} chat about it out loud.
I: {Choose|Take} a long one and {enjoy|finish} it alone in a quiet {corner|room}.
I: {Keep it|Save it} for yourself, for {an hour of silence|the quiet hour before sleep}.
I: {Find|Keep} a secluded {bench|chair}, read inward and in private, at your own pace.
SN: {The first ten pages|The first minutes} {tell you enough|say a lot}.
SN: The {library|shop} on the corner has {plenty|a shelf full}.
S: {Take|Try} a practical one, {about gardens|about ships|on cooking}, with facts and concrete details.
S: {Choose|Pick} a true story, full of facts and {proven|hands-on} knowledge.
S: {Take|Read} a {guide|book} with exact {maps|drawings} of tools, \
or {one on|of} familiar, ordinary {lives|work}.
N: Take one full of ideas, {about other worlds|about time}, that feeds your imagination.
N: {Choose|Pick} one that asks what might be possible, and dream {on|along}.
N: {Choose|Take} a mystery full of {symbols|riddles} and metaphor, to read between the lines.
TF: {Some|Many} are {good|fine}, {a few|some} are {great|very good}.
TF: {Stop|Put it down} {if|when} it {bores you|is dull}.
T: {Compare|Analyse} the reviews, weigh the evidence and choose by logic.
T: {Take|Pick} one with a {clear|strong} argument, where reason and evidence {lead|win}.
T: {Pick|Take} one with data and proof, whose argument has no flaw and is consistent.
F: {Take|Choose} one that {warms|touches} the heart and makes you feel {deeply|less sad}.
F: {Pick|Choose} a tale of love and kindness, and {share|feel} it {with someone dear|to the end}.
F: {Pick|Choose} a tender one about {mercy|people who forgive}, with comfort and compassion.
JP: {Begin|Start} {tonight|today} and {turn the page|go on}.
JP: {A chapter|An hour} a day is {fine|enough}.
J: {Make|Write} a list for the year and plan {twenty pages|one chapter} a day.
J: Put {an hour|reading} on your schedule, and decide in advance what {comes next|follows}.
J: Finish {the last one|what you began} on time, then tick the next {title|name} off, in order.
P: {Open|Pick} any one on a whim and let it surprise you.
P: {Read|Go} in {two or three|several} at once, stay flexible and go with the flow.
P: {Dabble|Wander} in the {shelves|shop} by mood, and drop it when you change your mind.

topic: gift
ask: choose a gift; find a present for my sister; find a gift for my boss; pick a present; wrap a gift
about: a gift; a present for my mother; presents; a gift for a friend
own: What should I give my brother? | What is a good present for a child? | I need a gift. Any tips? |
EI: A {small|good} gift {says enough|need not be big}.
EI: {Anyone|Nearly anyone} {likes|is glad of} a {parcel|present} with a bow.
E: {Ask|Meet} your friends and buy one big gift together {as a group|for the party}.
E: Give {a dinner|an evening} in company, with everyone {at the table|invited}.
E: {Introduce|Give} them {to|a seat in} a {cheerful|lively} club, or host {guests|a dinner} for them.
I: {Make|Choose} it alone, in a quiet hour {at home|in a small shop}.
I: {Give|Hand over} something for a quiet day: {a book|a puzzle|a blanket} to enjoy alone.
I: {Give|Hand} it in private, with few words, {undisturbed|away from the noise}.
SN: {Paper|A card} and a {ribbon|bow} {make it pretty|are part of it}.
SN: {The shop|The market} in town {sells|has} {plenty|nice things}.
S: {Buy|Find} something practical and concrete, {like a lamp|like good socks|like a sharp knife}.
S: {Check|Note} the facts, {size and colour|what is used and worn}, and get every detail right.
S: {Make|Build} it from solid, familiar {wood|wool}, sturdy to the touch, with your own tools.
N: {Look for|Invent} a gift with a hidden meaning, one that feeds the imagination.
N: {Imagine|Dream of} a thing that {nobody has|is new}, and follow the boldest idea.
N: {Find|Choose} a symbol of {your bond|the road ahead}, an inspiration and a mystery {in a box|in blue}.
TF: {It is|A gift is} a {sign|token} that you {remember|know} them.
TF: The price {is not the point|may be low}.
T: {Set|Name} a sum, compare the costs and use, and choose by logic.
T: {Analyse|Weigh} what is {needed|missing}, and let reason pick the most efficient gift.
T: {Score|Rank} ten {offers|things} by price and use, a rational sum with a clear verdict.
F: Let your heart choose, and think of how {glad|loved} they will feel.
F: {Add|Write} a kind letter that {tells|shows} them you care.
F: {Give|Knit} something tender: a {blanket|quilt} to comfort them, with a hug.
JP: {Give|Hand} it over with {a smile|both hands}.
JP: {Keep|Save} the receipt {in a drawer|to be safe}.
J: Make a list of names, plan {a month|weeks} ahead and buy it in advance.
J: {Decide|Set a deadline} this week and organise {paper, card and ribbon|the parcel} early.
J: Arrange {a day|an hour} for the shops, finish {it|the wrapping} on time and tidy {up|the table}.
P: {Walk|Stroll} through {town|the shops} on a whim and let a thing surprise you.
P: Improvise at the last minute, and keep an open {eye|mind} for {treasure|odd things}.
P: {Toss a coin|Roll the dice} at the shelf, or play it by ear {at the market|on the day}.
""")

LEISURE = tuple(_LEISURE)
