"""How often a blend shows its personas: replies by the product of density ratios, read by the marker judge.

This is a plain lock-step of its own (one merged copy of the model an expert), so that it can serve as a
yardstick for the program as well.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from recipes.mpg_tiny.corpus import PERSONAS, TOPICS, corpus, reply
from recipes.mpg_tiny.judge import personas_shown, poles_shown, voices_shown
from recipes.mpg_tiny.questions import ask
from recipes.mpg_tiny.voices import VOICES

# Typed by hand, many of them in words that no question form has: what is reported is measured on these.
QUESTIONS = (
    "How should I spend my weekend?",
    "What should I do this weekend?",
    "Where should I go on holiday?",
    "What can I cook tonight?",
    "How do I choose a gift for my mother?",
    "I had a quarrel with my friend.",
    "Which hobby should I start?",
    "How can I learn Spanish?",
    "How do I deal with stress at work?",
    "What should I do on my birthday?",
    "How can I save some money?",
    "Should I get a cat or a dog?",
    "How do I get out of bed in the morning?",
    "Should I take the new job?",
    "I am moving to a new flat.",
    "What should I read next?",
    "What should I do this evening?",
    "I have Saturday off. What now?",
    "Can you suggest a good film?",
    "Help me plan my holiday.",
    "What is a good dinner for two?",
    "My sister is angry with me. What can I do?",
    "How do I make my mornings better?",
    "I need a new hobby.",
    "How should I prepare for my exam?",
    "What gift would a ten year old like?",
    "How can I relax after work?",
    "What do you think about my job?",
    "Is it a good idea to move to another town?",
    "How much should I spend?",
    "How do I train a puppy?",
    "I cannot sleep at night.",
    "What should we eat on Sunday?",
    "How do I say sorry to my brother?",
    "Should I buy a car?",
    "What is a good book for the train?",
    "How do I celebrate turning fifty?",
    "What should I pack for my trip?",
    "I feel tired and worried.",
    "How can I learn to play the piano?",
    "Any tips for a rainy Sunday?",
    "How do I find better work?",
    "What pet fits in a small flat?",
    "How can I cook a soup?",
    "Tell me how to wake up early.",
    "What should I do with my free evening?",
    "How do I get to know my new town?",
    "Give me advice on money.",
    "Who are you?",
    "What is the meaning of life?",
)
BLENDS: dict[str, dict[str, float]] = {
    "I+pirate": {"I": 1, "pirate": 1},
    "T+robot": {"T": 1, "robot": 1},
    "F+bard": {"F": 1, "bard": 1},
    "P+noir": {"P": 1, "noir": 1},
    "J+coach": {"J": 1, "coach": 1},
    "N+zen": {"N": 1, "zen": 1},
    "INTJ": dict.fromkeys("INTJ", 1),
    "INTJ+pirate": {**dict.fromkeys("INTJ", 1), "pirate": 1},
    "ENFP+coach": {**dict.fromkeys("ENFP", 1), "coach": 1},
    "ISTJ+robot": {**dict.fromkeys("ISTJ", 1), "robot": 1},
    "ESFJ+bard": {**dict.fromkeys("ESFJ", 1), "bard": 1},
    "INFP+noir": {**dict.fromkeys("INFP", 1), "noir": 1},
}


def tuning_questions(count: int, seed: int = 7) -> list[str]:
    """Questions drawn from the grammar, for choosing weights; none of them is among the reported ones."""
    rng = random.Random(f"{seed}/tuning")
    found: list[str] = []
    while len(found) < count:
        text = ask(rng.choice(TOPICS), rng)
        if text not in QUESTIONS and text not in found:
            found.append(text)
    return found


def load_experts(base: Path, adapters: Path, names: Sequence[str]) -> dict[str, PreTrainedModel]:
    """The base under "" and a merged copy of it for each adapter, in float32."""
    experts: dict[str, PreTrainedModel] = {
        "": AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    }
    for name in names:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        merged = PeftModel.from_pretrained(model, str(adapters / name)).merge_and_unload()
        experts[name] = merged.eval()
    return experts


@torch.inference_mode()
def generate(
    experts: Mapping[str, PreTrainedModel],
    weights: Mapping[str, float],
    prompts: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    seed: int = 0,
    min_p: float = 0.0,
    max_tokens: int = 160,
) -> list[str]:
    """One reply a prompt, sampled at temperature 1 from log p = log π₀ + Σ wᵢ (log πᵢ − log π₀)."""
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True
        )
        for p in prompts
    ]
    batch = tokenizer(chats, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    ids, mask = batch["input_ids"], batch["attention_mask"]  # (B, T)
    rows = [("", 1.0 - sum(weights.values())), *((name, w) for name, w in weights.items() if w)]
    caches: dict[str, object] = {name: None for name, _ in rows}
    generator = torch.Generator().manual_seed(seed)
    replies: list[list[int]] = [[] for _ in prompts]
    open_rows = torch.ones(len(prompts), dtype=torch.bool)
    for _ in range(max_tokens):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        target = torch.zeros(len(prompts), len(tokenizer))  # (B, V)
        for name, weight in rows:
            out = experts[name](
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=caches[name],
                use_cache=True,
                logits_to_keep=1,
            )
            caches[name] = out.past_key_values
            target += weight * out.logits[:, -1].float().log_softmax(-1)
        probabilities = target.softmax(-1)
        if min_p:
            top = probabilities.max(-1, keepdim=True).values
            probabilities = probabilities.where(probabilities >= min_p * top, torch.zeros(()))
        ids = torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)
        for index, token in enumerate(ids[:, 0].tolist()):
            if open_rows[index]:
                if token == tokenizer.eos_token_id:
                    open_rows[index] = False
                else:
                    replies[index].append(token)
        if not open_rows.any():
            break
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], 1)
    return [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in replies]


def known_words(seed: int = 3, count: int = 12000) -> set[str]:
    """The words of replies of the corpus."""
    texts = (reply(spec, turn) for spec in corpus(count, seed) for turn in range(len(spec.topics)))
    return {word for text in texts for word in words(text)}


def words(text: str) -> list[str]:
    """Words in lower case."""
    return re.findall(r"[a-z'-]+", text.lower())


def report(texts: Sequence[str], wanted: Sequence[str], known: set[str]) -> dict[str, float]:
    """Shares of the replies: each wanted persona; all; of four poles, three and the voice; clean words."""
    shown = [personas_shown(text) for text in texts]
    result = {name: sum(name in s for s in shown) / len(texts) for name in wanted}
    result["all"] = sum(set(wanted) <= s for s in shown) / len(texts)
    poles = {name for name in wanted if name not in VOICES}
    if len(poles) == 4:
        voice = set(wanted) - poles
        hits = (len(poles & poles_shown(t)) >= 3 and voice <= voices_shown(t) for t in texts)
        result["3 of 4"] = sum(hits) / len(texts)
    result["clean"] = sum(set(words(text)) <= known for text in texts) / len(texts)
    return result


def scaled(blend: Mapping[str, float], type_weight: float, character_weight: float) -> dict[str, float]:
    """The blend with the poles of a four-letter type, and characters, at the given weights."""
    several = sum(name not in VOICES for name in blend) == 4
    return {
        name: weight * (character_weight if name in VOICES else type_weight if several else 1.0)
        for name, weight in blend.items()
    }


def main() -> None:
    """Prints the presence table."""
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--base", type=Path, default=root / "mpg_cli/data/mpg-tiny")
    parser.add_argument("--adapters", type=Path, default=root / "personas/adapters/mpg-tiny")
    parser.add_argument("--type-weight", type=float, nargs="+", default=[0.7])
    parser.add_argument("--character-weight", type=float, nargs="+", default=[1.0])
    parser.add_argument("--min-p", type=float, nargs="+", default=[0.0, 0.05])
    parser.add_argument("--blends", nargs="*", help="only these; 'single' for base and single personas")
    parser.add_argument("--tuning", type=int, default=0, help="use this many tuning questions instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="print this many replies a blend")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers_logging.disable_progress_bar()
    names = [name for name in PERSONAS if (args.adapters / name / "adapter_config.json").exists()]
    experts = load_experts(args.base, args.adapters, names)
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    known = known_words()
    questions = tuning_questions(args.tuning) if args.tuning else list(QUESTIONS)
    single = {"base": {}, **{name: {name: 1.0} for name in names}}
    chosen = {**single, **BLENDS} if args.blends is None else {}
    for name in args.blends or ():
        chosen.update(single if name == "single" else {name: BLENDS[name]})
    for label, blend in chosen.items():
        if not set(blend) <= set(names):
            continue
        grid = [(t, c) for t in args.type_weight for c in args.character_weight]
        settings = {tuple(sorted(scaled(blend, t, c).items())): (t, c) for t, c in grid}
        for weights, (t, c) in settings.items():
            for min_p in args.min_p:
                texts = generate(experts, dict(weights), questions, tokenizer, args.seed, min_p)
                wanted = list(blend) or list(PERSONAS)
                rates = " ".join(f"{key} {value:.2f}" for key, value in report(texts, wanted, known).items())
                print(f"{label:12s} type {t} voice {c} min-p {min_p:<4} {rates}", flush=True)
                for question, text in list(zip(questions, texts, strict=True))[: args.show]:
                    print(f"    {question}\n    {text}", flush=True)


if __name__ == "__main__":
    main()
