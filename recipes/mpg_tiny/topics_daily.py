"""Topics of home, people and work."""

from __future__ import annotations

from recipes.mpg_tiny.grammar import parse_topics

DAILY = parse_topics("""
topic: dinner
ask: cook dinner tonight; make a good dinner; cook for my family; learn to cook; make soup
about: dinner; cooking; tonight's dinner; lunch; food; supper
own: What should I cook tonight? | What shall we eat? | What is for dinner? | I am hungry. What now? |
EI: {Soup|Pasta} {is always good|never fails}.
EI: A {warm|hot} meal {at seven|in the evening} {is a treat|does you good}.
E: {Invite|Call in} the neighbours and friends, and cook together for a {big group|crowd}.
E: {Go out|Eat} with {good|cheerful} company where everyone shares the dishes.
E: {Host|Feed} guests and neighbours, with laughter and {songs|a toast} at a lively table.
I: Cook for yourself alone, with a {candle|book} and a quiet {table|kitchen}.
I: {Eat|Have} {soup|rice} on your own, slowly and in silence.
I: {Cook|Eat} undisturbed behind a closed door, {headphones on|with few words}, at your own pace.
SN: {Use|Take} the {carrots|beans|onions} before they go bad.
SN: {Salt|Butter} and {pepper|lemon} {do a lot|are enough}.
S: {Follow|Take} a proven recipe step by step, and measure each detail.
S: {Chop|Wash} the concrete things at hand: {rice, onions and eggs|beans, corn and fish}, a practical meal.
S: {Smell|Taste} it, cook by exact spoons, {keep to|use} familiar {pots|spices} and read the label.
N: Imagine a {new|strange} dish and try the idea: {plums with rice|mint in the soup}.
N: {Dream up|Invent} a meal from far away, and explore the possibilities of {spice|smoke and lemon}.
N: {Wonder|Ask} what if {soup were a story|tastes were tones}, follow a hunch and cook the unknown.
TF: {It need not|Dinner need not} be {fancy|perfect}.
TF: {Leftovers|What is left} {are good|will do} tomorrow.
T: {Compare|Analyse} cost, time and vitamins, and cook by reason.
T: {Cook|Make} a double pot, since logic says it is {more|most} efficient.
T: {Calculate|Work out} {pounds|grams} and prices, rank the dishes and be rational about {salt|cake}.
F: Cook what your loved ones love, {with|from} the heart.
F: {Serve|Make} something warm that {shows|says} you care, and makes them feel at home.
F: {Thank|Comfort} {the cook|your guest at home} with a hug, and share bread in harmony.
JP: {Set|Lay} the table and {eat|sit down}.
JP: {Wash up|Clean the pots} {before bed|afterwards}.
J: Plan the {menu|week} in advance, and shop from a list.
J: Organise the kitchen first and keep to a schedule: {oven at six|water on at six}, dinner at seven.
J: Prepare {the pots|the meat} at noon, tidy {as you cook|the shelf} and serve on time.
P: Open the fridge, improvise and {try|see} as you go.
P: {Cook|Season} on a whim and let the pot surprise you.
P: {Tinker|Experiment} with {spice|leftovers}, change your mind at the pot, and play it by ear.

topic: job
ask: choose a job; find a new job; get a better job; decide about a job offer; do well in an interview
about: my job; a new job; my work; a job offer; my career; my boss
own: Which job would suit me? | Should I change my job? | Should I take the offer? | I do not like my work. |
EI: {Work|A job} is {a part|one part} of life.
EI: {Many people|A lot of us} change {jobs|their work} once or twice.
E: {Look for|Choose} a job where you meet a crowd and work together with {others|a lively group}.
E: {Go out|Call around}, talk to friends and everyone in the {trade|firm}.
E: {Chat|Mingle} at {fairs|lunch}, say hello and {be|stay} cheerful with strangers.
I: {Look for|Choose} a job with a quiet {room|desk}, where you work alone and {deep|in peace}.
I: {Turn it over|Think it through} by yourself {on a long walk|for a night}, in silence.
I: {Ask|Look} for a closed door and undisturbed {hours|work}, with few words and no {calls|meetings}.
SN: {Pay|The way there} and {hours|the hours} {are part of it|come first for many}.
SN: {Read|Look at} the offer {twice|from top to bottom}.
S: {Check|Write down} the facts: {pay, hours and tasks|tools, pay and place}, each concrete detail.
S: {Choose|Take} practical work with your hands, where you see {real|proven} results.
S: {Pick|Take} a solid trade with familiar tools, {where|since} experience and exact {work|cuts} count.
N: Imagine {your days|your life} in ten years and follow the vision of that future.
N: {Look for|Choose} work full of ideas, that leaves room for your {dreams|imagination}.
N: {Follow|Trust} a hunch toward the unknown, {where|since} a theory or an insight {pays|counts}.
TF: {No job|No place} is {perfect|right in all things}.
TF: A fair {boss|firm} {is worth|counts for} {much|a lot}.
T: {Weigh|Compare} the pros and cons, {put a number on each|score them}, and choose by logic.
T: {Analyse|Look at} the evidence on {growth and pay|the firm} with cool reason.
T: {Rank|Score} the offers by criteria and data, and {calculate|work out} the sum.
F: {Ask|Follow} your heart: {the work|it} should feel {right|good} and help others.
F: {Choose|Go} where people are kind and care for {each other|one another}.
F: {Choose|Find} a place that {thanks you|is grateful}, {where|and where} people forgive and encourage.
JP: {Send|Write} the letter and {wait a week|go on}.
JP: {Take|Have} a {day|week} off {before|in between}.
J: {Set|Write down} a deadline, plan {each step of the way|the year} and decide on time.
J: {Make|Write} a list of firms, organise the papers and {send one a day|work through it on schedule}.
J: {Prepare|Arrange} your papers in order, be punctual, and settle it {by May|this month}.
P: {Keep|Leave} all doors open, stay flexible and see what {comes|turns up}.
P: Try {a few weeks|something} on a whim and improvise {from there|as you go}.
P: {Change your mind|Take a detour} if you like, dabble here and there, and keep it loose.

topic: moving
ask: move house; find a new flat; pack my boxes; move to a new town; settle in a new home
about: moving house; a new flat; my move; a new town; my new home
own: Should I move? | Where should I live? | I am moving next month. Any tips? |
EI: {Moving|A move} is {hard|a lot of} work for a {week|day or two}.
EI: {Boxes|Old boxes} {are free|cost little} at the {shop|market}.
E: {Call|Gather} all your friends to carry together, and {throw|give} a party {in the new rooms|afterwards}.
E: {Knock|Ring} at every door {there|in the street} and meet everyone, since company makes a home.
E: Say hello to {all|your} neighbours, and host a {lively|cheerful} dinner with laughter.
I: Pack alone, {one room an evening|a room a night}, in peace and quiet.
I: {Choose|Find} a place for yourself, {behind thick walls|on a still street}, far from the noise.
I: {Hang|Draw} the curtains first, for private hours, undisturbed and {inward|secluded}.
SN: {Old things|Books} {are heavy|are heavier than they look}.
SN: {Wrap|Roll} the {cups|plates} in {paper|towels}.
S: {Measure|Check} the concrete details: {doors, stairs and walls|rooms and windows}.
S: {Mark|Number} the boxes, and take it step by step with practical tools.
S: {Bring|Take} sturdy {rope|boxes} and solid tools, label each and note the exact size.
N: Imagine the {life|rooms} you want, and look for a place with possibilities.
N: {See|Take} it as a new chapter, dream {big|a little}, and ask what it means {for you|for the future}.
N: {Wonder|Ask} what if {walls|streets} could talk, and read the mystery between the lines.
TF: {Some things|A few things} can {go|stay behind}.
TF: A {bigger|smaller} place {has its good sides|will do as well}.
T: {Compare|Analyse} rent, {distance|way to work} and costs, and choose by logic.
T: {Weigh|Note} the pros and cons, then {sell|leave} what reason cannot keep.
T: {Calculate|Work out} the figures by {room|mile}, rank the firms and look for the flaw in each {offer|bill}.
F: {Choose|Take} the place where your heart feels at home.
F: {Say a|Take time for a} warm goodbye to those you love, and be gentle with {sad|mixed} feelings.
F: {Thank|Hug} the old {rooms|street}, be tender and grateful for {the years|it}.
JP: {Sleep|Rest} well {before|after} the day.
JP: {The first|The last} night {is odd|goes by quickly}.
J: Plan it {six weeks|a month} in advance, with a list for every {room|box}.
J: {Set|Fix} the date, organise the {van|keys} early and keep the schedule.
J: {Arrange|Settle} {dates|each trip} in the calendar, tidy up and finish on time.
P: {Unpack|Live} as it comes, and leave a room open for {surprise|whims}.
P: {Take it as it comes|Go with the flow}, stay flexible, and improvise {as you go|a little}.
P: {Roam|Wander} the new {streets|town}, keep {boxes|things} loose and change your mind.

topic: quarrel
ask: end a quarrel with a friend; make up with my brother; talk to an angry friend; say sorry
about: a quarrel with a friend; my angry sister; a fight with my neighbour; saying sorry
own: My friend is angry with me. | I had a fight with my sister. | We quarrelled. What now? |
EI: A quarrel {happens|comes} to {all of us|the best of us}.
EI: {Words|Harsh words} {are said|come out} quickly in {anger|a fight}.
E: {Go over|Call} at once, meet {in company|together with friends} and talk {it out|out loud}.
E: {Bring|Get} everyone to the table, and {clear the air|talk} in the group.
E: {Chat|Laugh} about it over {tea|lunch}, out loud and with laughter.
I: {Take|Spend} an hour alone first, {in silence|away from the noise}, and {breathe|sort your words}.
I: {Write|Say} it in a letter, by yourself, in a quiet room.
I: {Withdraw|Retreat} to your diary, look inward and keep it private.
SN: {Wait|Let it rest} until {tomorrow|you are both calm}.
SN: {Drink|Have} {some water|tea} and {sit down|take a walk} first.
S: Say what {was said|happened}: the facts, one concrete detail {after the other|at a time}.
S: {Offer|Take} a practical step: {fix the thing|pay the bill|bring it back}.
S: {Tell|Write} exact words: what you could see and hear, {observe|say} it as it is.
N: {Look|Ask} for the pattern beneath, and what the fight really means.
N: Imagine {the future|a year from now} and the possibilities of a new {beginning|bond}.
N: {Trust|Follow} a hunch, and read between the lines for a hidden {wound|wish}.
TF: {There are|There may be} two sides {to it|here}.
TF: {Someone|One of you} must {begin|go first}.
T: {Weigh|Compare} both {sides|cases} by logic, and admit what the evidence shows.
T: {Be|Stay} objective: analyse the {cause|reason for it} and {solve|mend} that.
T: {Look for|Find} the flaw in each argument, on principle, and deduce a rational {deal|verdict}.
F: {Ask|Tell them} how {they feel|you feel}, and speak from the heart.
F: {Forgive|Be gentle} with love, because kindness {heals|matters more}.
F: {Listen|Answer} with compassion, {offer|give} a hug and forgive, for the sake of harmony.
JP: {Shake hands|Say thanks} {at the end|and smile}.
JP: {Then|After that} {let it go|say no more}.
J: {Fix|Set} a time {to talk|this week}, plan your words in advance and decide on {a rule|one thing}.
J: {Write|Make} a list of points and {settle|close} them in order, by {Friday|a deadline}.
J: {Settle|Arrange} it on time, {with|by} clear {terms|rules}, and finish the matter in order.
P: {Wait|Be open} for the moment, and improvise {your words|from there}.
P: Stay flexible, {go|talk} with the flow and let them surprise you.
P: {Play|Take} it by ear, keep it loose, and change your mind if {you must|they are right}.

topic: skill
ask: learn a language; learn to play the guitar; learn to draw; study for an exam; learn to swim; learn faster
about: learning a language; my exam; learning the piano; school; my studies
own: How long does it take to learn French? | I want to learn to code. | How do I pass my exam? |
EI: {Learning|It} {takes|needs} {time|a year or so}.
EI: {Anyone|You} can {learn it|get there} with {a little time|some work}.
E: {Join|Find} a {class|course} and practise together with friends and a lively group.
E: {Speak|Play} to everyone you meet, since a crowd {teaches|wakes you up}.
E: {Mingle|Chat} with strangers who {know it|can do it}, out loud and cheerful about {slips|errors}.
I: {Study|Practise} alone {at dawn|at night} in a quiet {room|corner}.
I: {Teach|Learn} it by yourself, {with|from} books, in silence.
I: {Go|Work} inward, at your own pace, undisturbed and {in solitude|with headphones on}.
SN: {Short|Small} hours {add up|are fine}.
SN: {Sleep|Rest} {helps|is part of it}.
S: Take it step by step: {ten words a day|one chord a day|one page a day}, a concrete dose.
S: {Use|Do} hands-on practice with {real|proven} exercises and learn the facts first.
S: {Copy|Observe} what you can see a master do, with familiar tools and exact {moves|notes}.
N: {Look for|Find} the big pattern first and play with the ideas {behind it|in it}.
N: Imagine what {it opens|you might do with it}, and let that dream {pull|lead} you.
N: {Invent|Find} a metaphor for each {rule|part}, and wait for insight into the {whole|hidden} connection.
TF: {Mistakes|Errors} {are normal|belong to it}.
TF: {The start|The first month} is {the hardest|slow}.
T: {Test|Measure} your progress, analyse your errors and use the most efficient {method|way}.
T: {Compare|Weigh} three methods, {look at|follow} the evidence and drop the rest by logic.
T: {Gather|Keep} data on your {score|hours}, find each flaw and {calculate|work out} the gain.
F: {Learn|Choose} what your heart loves, and be gentle when it feels hard.
F: {Do|Learn} it for someone you love, {it will|and it will} feel warm.
F: {Encourage|Thank} each other, find a tender teacher and be grateful for {help|each gain}.
JP: {Begin|Start} {today|tonight} and {go on|do not stop}.
JP: {Look back|Smile} after {a month|a hundred days}.
J: {Make|Write} a schedule of {half an hour|one hour} a day, and set a deadline.
J: Plan the {chapters|weeks} in advance, with a list that you {finish|tick off}.
J: {Build|Keep} a routine with a milestone each {month|week}, punctual and in order.
P: {Jump|Dip} in on a whim, and play with it as you go.
P: {Leave|Keep} the order open, improvise, and let what is fun {lead|surprise you}.
P: {Tinker|Experiment}, wander from {song to song|part to part}, and dabble as your mood is.

topic: stress
ask: deal with stress; calm down; sleep better; handle a hard week; stop worrying; feel better
about: stress; my worries; bad sleep; a hard week; being tired
own: I am stressed. | I cannot sleep. | I worry a lot. What helps? | I am tired all the time. |
EI: {Stress|A hard week} {passes|comes and goes}.
EI: {Most|Many} of us {know|have} {such days|weeks like this}.
E: {Call|Meet} your friends, laugh together and let the company {lift you|carry you}.
E: {Dance|Sing} it off in a crowd, {at a party|in a loud group}.
E: {Join|Find} a {lively|cheerful} club, and chat with neighbours out loud about it.
I: {Close|Shut} the door and be alone for {an hour|a while}, in silence.
I: {Walk|Sit} by yourself in {the woods|the garden}, where it is quiet.
I: {Withdraw|Retreat}, close the curtains, and look inward with headphones on.
SN: {Drink|Have} {water|tea} and {breathe|stretch}.
SN: {Fresh air|A warm bath} {helps|is good}.
S: {Do|Finish} one practical thing with your hands, {like the dishes|like raking leaves}, step by step.
S: {Write down|Look at} the facts, each concrete detail, and {fix|mend} one.
S: {Smell|Touch} {pine wood|warm bread}, {taste|drink} cold water, and observe your breath as it is.
N: {Imagine|Dream of} a {far shore|calm sea}, and ask what the stress really means.
N: {Look|Search} for the pattern behind it and the possibilities {beyond|that lie ahead}.
N: {Find|Paint} a symbol for it, and let insight and inspiration come from the unknown.
TF: {It is|That is} {normal|no shame}.
TF: {Part of it|Some of it} {will be gone|is over} {next week|soon}.
T: {Analyse|Find} the cause, {weigh|compare} the cures, and pick one by logic.
T: {Ask|Look} for evidence: {most worries|many fears} have no reason {behind them|to them}.
T: {Score|Rank} your worries by criteria, and deduce {which|what} is rational.
F: Be gentle with your feelings, and {let|tell} someone who loves you {hold you|all}.
F: {Listen|Speak} to your heart with kindness, and feel what it {needs|wants}.
F: {Ask for|Take} a hug and comfort, forgive and be tender.
JP: {Go|Get} to bed {early|in good time}.
JP: {Tomorrow|Next week} {is|will be} {better|lighter}.
J: {Make|Write} a list, decide what {comes first|can wait}, and plan the week in order.
J: {Set|Fix} a schedule: {work until six|up at seven}, rest at ten, and keep to it.
J: Tidy {one shelf|the desk}, settle {one bill|one matter}, and build a firm routine.
P: {Drop|Leave} it for a day, and go with the flow.
P: Stay flexible, follow a whim and {let|see} the day {unfold as it comes|surprise you}.
P: {Wander|Roam} without {a watch|a goal}, keep the day loose and tinker.

topic: birthday
ask: celebrate my birthday; celebrate my son's birthday; have a nice birthday; turn forty
about: my birthday; my daughter's birthday; a birthday cake; turning thirty
own: It is my birthday soon. | What should I do on my birthday? | How do people celebrate? |
EI: A birthday {comes|is} once a year.
EI: {Cake|A cake} {belongs to it|is a must} at any age.
E: {Throw|Give} a {big|loud} party with friends, {music and dance|games and music}.
E: {Invite|Gather} everyone you know, and eat together in {good|merry} company.
E: {Host|Fill the house with} guests and neighbours, for laughter, {toasts|songs} and a lively dance.
I: {Spend|Keep} the day alone, with {a long walk|cake and a book}, in the quiet.
I: Do something for yourself, {far from the noise|in a still place}, and enjoy the silence.
I: {Retreat|Withdraw} to a secluded {lake|hut}, write your diary and look inward.
SN: {Candles|Flowers} and {a song|cake} {are enough|go well with it}.
SN: {The morning|Breakfast} can be {slow|long} that day.
S: Bake a proven cake, step by step, and {decorate|see to} each detail.
S: {Choose|Do} something concrete: {a boat ride|a good meal|a day at the zoo}, with practical shoes.
S: {Taste|Smell} familiar {cakes|dishes}, {light|use} ordinary candles and hang sturdy {lights|ropes}.
N: {Imagine|Think of} a theme, full of ideas: {the moon|a lost city}, and {build|play} the dream.
N: {Ask|Think about} what the past year means, and which possibilities the future {holds|brings}.
N: {Give|Set} it a mystery to solve, with symbols, {masks|riddles} and wonder.
TF: {Big or small|Loud or not}, {both are fine|it counts the same}.
TF: {A wish|One wish} {is free|is allowed}.
T: {Compare|Weigh} the costs of {three ways|a meal and a trip}, and choose by logic.
T: {Analyse|Rank} what was {good|worth it} last year and let reason {pick|decide}.
T: {Calculate|Work out} the bill, rank the {rooms|offers} by criteria and be rational about {size|gifts}.
F: {Hold|Keep} those you love {close|near}, and tell them how you feel.
F: Follow your heart, and {thank|greet} people with warm, kind words.
F: Thank {your parents|each guest} with a hug, be grateful and cherish old {faces|songs}.
JP: {Blow out|Light} the candles and {smile|sing}.
JP: {Rest|Sleep in} the {next day|day after}.
J: Plan it {weeks|a month} in advance: a list of {names|things}, a schedule, a cake.
J: Decide on the {place|day} early, and organise {food and seats|the rest} by a deadline.
J: Arrange the {seats|cards} in order, prepare {each dish|the songs} and begin on time.
P: {Wake up|Begin} with no {fixed hour|course}, and let the day surprise you.
P: {Leave|Keep} it open and improvise: {a picnic|a swim|a drive} on a whim.
P: {Toss a coin|Roll the dice} at noon, roam, and play it by ear.

topic: budget
ask: save money; make a budget; spend less; pay my debts; buy a car; use my savings
about: my budget; money; my savings; buying a car; my debts; a big purchase
own: How do I save money? | I spend too much. | Should I buy a new phone? | What should I do with my money? |
EI: {Money|A budget} is {a tool|a helper}.
EI: {Many|Most} of us {spend|pay} more than we {think|know}.
E: {Talk|Speak} about it with friends, and share {cars and rides|costs} together in a group.
E: {Join|Start} a saving club, where everyone {cheers you on|helps} and company makes it fun.
E: {Chat|Speak} with your neighbours about {deals|prices}, and make a cheerful {game|club} of it.
I: {Sit down|Go through it} alone {one evening|on Sunday}, in a quiet room.
I: {Choose|Find} cheap joys for yourself: {a library book|a walk}, peace and silence.
I: {Count|Do} it in private, behind a closed door, undisturbed and with few words.
SN: {Wait|Sleep} {a night|a week} before you {buy|pay}.
SN: {Coins|Small sums} {add up|grow}.
S: {Write down|Look at} the facts: {rent, food and bus|each bill}, every concrete detail.
S: {Take|Use} the practical and proven way: {cash in envelopes|a jar for coins}, step by step.
S: {Keep|Note} exact sums of what you can see, and buy sturdy, ordinary things.
N: Imagine what the money could {mean|become}, and save for that dream.
N: {Look for|See} the pattern in your {spending|wishes}, and try a new idea {to earn|of wealth}.
N: {Wonder|Ask} what if {you needed half|money were water}, and look beyond the horizon for insight.
TF: {Cheap|Old} things can be {good|fine}.
TF: {A little|Ten coins} a week {is a start|is fine}.
T: {Compare|Analyse} all prices and costs, and cut what logic cannot {defend|explain}.
T: {Rank|Weigh} each {expense|purchase} by use, and let cool reason decide.
T: {Calculate|Work out} the figures, find the flaw, and be rational by {rule|formula}.
F: {Spend|Give} on what your heart loves, and on people you care {for|about}.
F: {Ask|Notice} which feelings make you buy, and be gentle {there|with them}.
F: {Give|Share} a {little|tenth} with compassion, {to comfort|and comfort} others, and be grateful.
JP: {Pay|Save} {first|at once} and {forget it|go on}.
JP: {Look|Check} {again|back} in {a month|spring}.
J: {Make|Write} a monthly plan, {set|with} a limit and a deadline, and keep to it.
J: Organise the bills in a list, and schedule {each payment|the payments} in advance.
J: {Settle|Pay} {debts|bills} on time, tidy your papers, and build a routine.
P: {Stay|Keep} flexible: leave some money open for a whim.
P: {Spend|Take it} as it comes, improvise when {short|low}, and see what turns up.
P: {Play|Take} it by ear, keep some coins loose, and change your mind about {things|rules}.

topic: pet
ask: choose a pet; take care of a dog; get a cat; train my dog; name my cat; keep fish
about: pets; a dog; my cat; a new puppy; keeping fish; a rabbit
own: Should I get a dog? | Cat or dog? | Which pet is right for me? | How do I name my dog? |
EI: A pet {stays|lives} with you for {years|ten years or more}.
EI: {Cats and dogs|Animals} {need|want} food, water and time.
E: {Get|Take} a lively dog, and meet friends and everyone in the park together.
E: {Join|Find} a group of owners, {where|since} pets {like|enjoy} company and a crowd.
E: {Get|Choose} a cheerful {bird|pup} that greets guests and strangers, for laughter.
I: {Get|Take} a quiet cat, that {leaves|lets} you alone {with your book|in peace}.
I: {Keep|Choose} fish for yourself, and watch them in silence.
I: {Choose|Find} a shy one for your solitude, undisturbed behind the curtains.
SN: {Walks|Food} and a {basket|bed} {are a must|come first}.
SN: The {vet|shelter} {is near|can help}.
S: {Check|Learn} the facts: {food, space and hours|vet, food and space}, every practical detail.
S: {Train|Feed} it step by step with proven, hands-on {ways|rules}.
S: {Observe|Touch} it first, read the label on its food, and buy a sturdy {leash|cage}.
N: Imagine {who|what} it could be: a {dragon|prince} in fur, and find a name full of meaning.
N: {Think|Dream} of strange possibilities: {bees, snails or crows|a crow or a toad}, a new idea of a pet.
N: {Follow|Trust} your hunch, and wonder what if it could {talk|read}, a mystery with {ears|wings}.
TF: {Young or old|Big or small}, {both are nice|either will do}.
TF: {A pet|It} makes {dirt|some dirt} {now and then|every day}.
T: {Compare|Weigh} cost, time and space, and choose by logic.
T: {Analyse|Note} the pros and cons, as reason {demands|asks}.
T: {Calculate|Work out} the {yearly|full} sum, and rank {breeds|kinds} by criteria and data.
F: {Take|Choose} the one your heart loves at first {sight|glance}, and care for it.
F: {Give|Bring} a {lonely|sad} animal a warm home, kindness and love.
F: {Comfort|Encourage} it with a tender hand, be grateful and listen with sympathy.
JP: {Give|Allow} it {a week|some days} to get used to you.
JP: {Keep|Have} a {towel|brush} near the door.
J: Plan the {walks|meals}, write a feeding schedule and organise {the vet|help} in advance.
J: Decide on rules early, {make|and make} a list, and keep to it.
J: {Build|Keep} a routine: {walks|meals} on time, {bowl|brush} in order.
P: {Go|Drive} to the shelter on a whim, and let one surprise you.
P: {Play|Live} with it as it comes, stay flexible and improvise.
P: {Roll the dice|Toss a coin}, drift past the {pens|cages}, and change your mind.

topic: morning
ask: start my morning; start the day; wake up early; make a morning routine; get out of bed
about: my mornings; a morning routine; breakfast; waking up early; my Monday
own: I am always late in the morning. | What is a good breakfast? | How do I wake up? |
EI: {Mornings|The first hours} {are hard|are slow} for {many|some} of us.
EI: {Light|Sun} and {water|coffee} {wake|help} you.
E: {Run|Eat breakfast} together with friends, since company {wakes you|gives you energy}.
E: {Turn up|Put on} loud music, call everyone to the table and {talk|sing} in a group.
E: {Chat|Laugh} with neighbours on the {stairs|street}, and be cheerful out loud.
I: {Rise|Get up} before the others, and enjoy {an hour|the dawn} alone in silence.
I: {Drink|Have} your coffee by yourself, in the quiet {kitchen|garden}.
I: {Rise|Wake} in solitude, with headphones on, and write your diary undisturbed.
SN: {Bread|Fruit} and {eggs|oats} {are a good start|keep you going}.
SN: {Look out of|Go to} the window and {breathe|stretch}.
S: {Do|Take} it step by step: {wash, dress, eat|water, shoes, door}, a practical and proven order of things.
S: {Touch|Use} concrete things: {cold water|warm bread}, each detail with your hands.
S: {Smell|Taste} the coffee, {touch|note} cold tiles, and observe the sky as it is.
N: {Write down|Keep} your dreams, and let your imagination {play|wake} first.
N: {Ask|Think about} what the day could mean, and {catch|follow} a new idea.
N: {Follow|Wait for} an insight, wonder what if, and look towards the horizon.
TF: {Late or early|Early or late}, the day is long.
TF: {Coffee|Tea} {is fine|will do}.
T: {Measure|Analyse} your sleep, weigh the evidence and choose the efficient {hour|way}.
T: {Cut|Drop} what costs time without reason, as logic {asks|demands}.
T: {Calculate|Work out} the minutes, {keep|gather} data on your sleep and be rational.
F: {Kiss|Hug} those you love, and {begin|start} with a warm, kind word.
F: {Ask|Notice} how you feel, and be gentle with your heart {at dawn|so early}.
F: {Thank|Hug} someone at {breakfast|the door}, be tender and grateful.
JP: {Leave|Go} {on foot|by bike} {if you can|when it is dry}.
JP: {Then|After that} {the day|work} {may come|can begin}.
J: Plan it the night before: {clothes out|bag packed}, a list by the door, up at six {sharp|on schedule}.
J: {Set|Fix} a schedule for {each|every} quarter hour and organise {the bag|breakfast} in advance.
J: {Keep|Build} a firm routine, tidy the bed, and be punctual {at the desk|by seven}.
P: {Wake|Rise} when you wake, and improvise {breakfast|the rest} on a whim.
P: {Leave|Keep} the first hour open, stay flexible and go with the flow.
P: {Drift|Wander} into the day as your mood is, and play it by ear.
""")
