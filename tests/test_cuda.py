"""On an NVIDIA GPU: the text is that of the CPU and of token-by-token decoding, and steps do not wait.

Skipped without one.
`pytest tests/test_cuda.py` on a machine with a GPU; in float32, where both devices round nearly alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import mpg_cli
from mpg_cli.models.fast import accelerate
from mpg_cli.models.fast.graphs import Graphs
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.plan import plan_of
from mpg_cli.sampling.params import SamplingLaw, Scheme
from tests.support.adapters import tiny_adapter
from tests.support.models import ALL, is_repacked, random_tokens, tiny_model
from tests.support.rows import AlikeRows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

QUESTION = "How should I spend my weekend?"
BLEND = "I+N+T+J+pirate"


def reply(device: str, *, compile: bool = False, tokens: int = 48, **scheme: Any) -> str:
    with mpg_cli.load(
        BLEND, model="mpg-tiny", device=device, dtype="float32", compile=compile, scheme=Scheme(**scheme)
    ) as speaker:
        found = speaker.reply(QUESTION, seed=3, sampling=SamplingLaw(max_tokens=tokens))
        return found.text


@pytest.fixture(scope="module")
def on_cpu() -> str:
    return reply("cpu", drafter="none")


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(
    ("drafter", "chunk_size"),
    [("none", None), ("reference", 3), ("merged", None), ("merged", 7), ("folded", 5), ("lookup", 4)],
)
def test_the_text_is_that_of_the_cpu(
    on_cpu: str, drafter: str, chunk_size: int | None, compile: bool
) -> None:
    assert reply("cuda", compile=compile, drafter=drafter, chunk_size=chunk_size) == on_cpu


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize("compile", [False, True])
def test_rows_of_every_architecture_are_those_of_the_cpu(
    tmp_path: Path, architecture: str, compile: bool
) -> None:
    """Steps and score passes of two sequences of different length, with rejected tails, over 200 places."""
    path = tiny_adapter(tmp_path / "a", architecture, base=tiny_model(architecture))
    prompts = random_tokens(batch=2, length=9).tolist()
    results = []
    for device in ("cpu", "cuda"):
        model = tiny_model(architecture, max_position_embeddings=512).to(device)
        adapter = fit_adapter(read_adapter(path, "a"), model)
        if compile and device == "cuda":
            assert accelerate(model, compiled=True)
        rows = AlikeRows(model, ["reference", "a"], adapters=[[(adapter, 1.0)]], batch=2)
        rows.prefill([[prompts[0]] * 2, [prompts[1][:6]] * 2])
        found = []
        for size in (0, 0, 3, 3, 3, 0, *[40] * 4, *[3] * 5, *[0] * 5):
            drafts = torch.arange(2 * size).view(2, 1, size) % 90
            found.append(rows.score(drafts).log_probs.cpu().flatten())
            rows.commit([min(size, 2), 0], [[5], [6]])
        results.append(torch.cat(found))
    assert float((results[0] - results[1]).abs().max()) <= 2e-3


def waits(chunk_size: int, **scheme: Any) -> tuple[int, int]:
    """How often a reply waited for the GPU after its first rounds, and its rounds."""
    with mpg_cli.load(
        BLEND,
        model="mpg-tiny",
        device="cuda",
        dtype="float32",
        scheme=Scheme(chunk_size=chunk_size, **scheme),
    ) as speaker:
        speaker.reply(QUESTION, seed=3, sampling=SamplingLaw(max_tokens=64))
        rounds = 0
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                found = speaker.reply(QUESTION, seed=3, sampling=SamplingLaw(max_tokens=64))
                rounds = found.stats.passes
            finally:
                torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in said), rounds


@pytest.mark.parametrize("rule", ["exact", "threshold", "block"])
def test_a_drafted_token_does_not_wait(rule: Any) -> None:
    """A round waits so often, however many tokens were drafted in it."""
    short, long = (waits(size, drafter="merged", rule=rule) for size in (2, 32))
    assert long[0] / long[1] <= short[0] / short[1] + 15, (short, long)  # with a wait a token: 30


@pytest.mark.parametrize("rule", ["exact", "threshold", "block"])
def test_penalties_are_those_of_the_cpu(rule: Any) -> None:
    penalised = SamplingLaw(
        max_tokens=24,
        repetition_penalty=1.3,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        logit_bias=((5, 2.0), (9, -3.0)),
    )
    found = []
    for device in ("cpu", "cuda"):
        with mpg_cli.load(
            BLEND, model="mpg-tiny", device=device, dtype="float32", scheme=Scheme(rule=rule)
        ) as speaker:
            found.append(speaker.reply(QUESTION, seed=3, sampling=penalised).token_ids)
    assert found[0] == found[1]


def test_weights_stay_as_they_are() -> None:
    with mpg_cli.load("pirate", model="mpg-tiny", device="cuda", dtype="bfloat16") as speaker:
        assert not is_repacked(speaker._engine.loaded.model)


def test_a_folded_copy_is_recorded_too(tmp_path: Path) -> None:
    model = tiny_model("llama").to("cuda")
    adapter = read_adapter(tiny_adapter(tmp_path / "a", base=tiny_model("llama")), "a")
    assert accelerate(model, compiled=True)
    folded = LoraBank.of(model).folded([(fit_adapter(adapter, model), 1.0)])
    assert isinstance(plan_of(folded).recorder(), Graphs)


def mpg(*argv: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which runs `before` first."""
    code = f"import torch\n{before}\nfrom mpg_cli.__main__ import main\nmain()"
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """64 lines of different length."""
    path = tmp_path / "in.jsonl"
    texts = [QUESTION, "What makes a good friend?", "Tell me about my garden.", "How can I sleep better?"]
    records = [
        {"id": f"line {n}", "prompt": texts[n % 4] * (1 + n % 3), "max_tokens": 8 + 5 * (n % 7)}
        for n in range(64)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


BATCH = ("--persona", BLEND, "--dtype", "float32", "--seed", "1", "--quiet")


def texts(path: Path) -> dict[str, str]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {record["id"]: record["text"] for record in records}


def test_a_batch_is_that_of_the_cpu(tmp_path: Path, lines: Path) -> None:
    found = []
    for device, *more in (("cpu",), ("cuda",), ("cuda", "--compile"), ("cuda", "--drafter", "none")):
        out = tmp_path / f"out{len(found)}"
        done = mpg("batch", str(lines), "-o", str(out), *BATCH, "--device", device, *more)
        assert done.returncode == 0, done.stderr
        found.append(texts(out))
    assert len(found[0]) == 64
    for other in found[1:]:
        assert other == found[0]


@pytest.mark.parametrize("more", [(), ("--compile",)], ids=str)
def test_a_batch_that_grows_while_it_runs_is_that_of_the_cpu(
    tmp_path: Path, lines: Path, more: tuple[str, ...]
) -> None:
    """Three lines come first, all others when the first of them is answered."""
    done = mpg("batch", str(lines), "-o", str(tmp_path / "out"), *BATCH, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    argv = [sys.executable, "-m", "mpg_cli", "batch", "-", *BATCH, "--device", "cuda", *more]
    raw = lines.read_text(encoding="utf-8").splitlines(keepends=True)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.writelines(raw[:3])
        process.stdin.flush()
        first = process.stdout.readline()
        process.stdin.writelines(raw[3:])
        process.stdin.close()
        records = [json.loads(line) for line in (first, *process.stdout)]
    assert process.returncode == 0
    assert {record["id"]: record["text"] for record in records} == texts(tmp_path / "out")
    assert len(records) == 64


def test_a_batch_halves_when_memory_runs_out(tmp_path: Path, lines: Path) -> None:
    """With 60 % of what 64 lines at a time take."""
    peak = "f'PEAK {torch.cuda.max_memory_reserved()}'"
    say = f"import atexit, sys\natexit.register(lambda: sys.stderr.write({peak}))"
    argv = ("batch", str(lines), *BATCH, "--device", "cuda", "--batch-size", "64")
    whole = mpg(*argv, "-o", str(tmp_path / "whole"), before=say)
    assert whole.returncode == 0, whole.stderr
    share = 0.6 * int(whole.stderr.rpartition("PEAK ")[2]) / torch.cuda.mem_get_info()[1]
    limit = f"torch.cuda.set_per_process_memory_fraction({share})"
    tight = mpg(*[a for a in argv if a != "--quiet"], "-o", str(tmp_path / "tight"), before=limit)
    assert tight.returncode == 0, tight.stderr
    assert "memory ran out" in tight.stderr
    assert texts(tmp_path / "tight") == texts(tmp_path / "whole")


def test_what_is_tuned_is_used(tmp_path: Path) -> None:
    tuned = mpg("tune", "--persona", "pirate", "--device", "cuda", "--seconds", "5", "--format", "json")
    assert tuned.returncode == 0, tuned.stderr
    profile = json.loads(tuned.stdout)
    assert profile["choices"]
    reply = mpg(
        "generate", "--persona", "pirate", "--device", "cuda", "--format", "json", "--seed", "1", QUESTION
    )
    assert reply.returncode == 0, reply.stderr
