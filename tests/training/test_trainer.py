"""Training runs on tiny models: the adapter is trained, and a stopped run resumes to the same result."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.errors import ModelError, MpgError, NumericsError, UsageError
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.training import trainer
from mpg_cli.training.callback import Pace
from mpg_cli.training.conversation import Example, examples
from mpg_cli.training.data import read_data
from mpg_cli.training.rows import Method, Row, Turn
from mpg_cli.training.run import RunFolder
from mpg_cli.training.settings import LOSSES, Choices, Settings, resolve
from mpg_cli.training.targets import choose_targets
from mpg_cli.training.trainer import Job, Trained, _loss, chosen, train
from mpg_cli.training.watch import Figures, Watch
from tests.support.files import written
from tests.support.models import save_chat_model, save_model
from tests.support.preferences import preferences, quick_collections, responses
from tests.support.steps import before_steps

QUICK: dict[str, Any] = {"epochs": 2.0, "batch_size": 8, "learning_rate": 0.02, "rank": 4}
EVERY_STEP = Pace(seconds=0.0, share=1e9)  # checkpoints


class Recorder:
    """A display that remembers, and may act at a step, -1 for the test."""

    def __init__(self, at: Callable[[int], None] = lambda step: None) -> None:
        self.steps: list[tuple[int, int, Figures | None]] = []
        self.stages: list[str] = []
        self.at = at

    def phase(self, text: str) -> None:
        self.stage(text)

    def stage(self, text: str) -> None:
        self.stages.append(text)
        if text == "evaluating":
            self.at(-1)

    def step(self, done: int, total: int, figures: Figures | None) -> None:
        self.steps.append((done, total, figures))
        self.at(done)

    def stopping(self) -> None:
        pass


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_collections():
        yield save_chat_model(tmp_path_factory.mktemp("models") / "tiny")


def job(model: Path, run: RunFolder, folder: Path, **choices: Any) -> Job:
    """A job as the command makes it, the last quarter held out."""
    made = Choices(**(QUICK | choices))
    loaded = load_model(str(model), device="cpu")
    targets = choose_targets(loaded.model, (), loaded.id)
    settings = resolve(made, 2_000_000, 128, targets)
    rows = preferences() if made.method == "dpo" else responses()
    data = read_data([written(folder / "data.jsonl", rows)], made.method)
    examples_, _, problems = examples(data.rows, loaded.tokenizer, loaded.end_tokens)
    assert problems == []
    return Job(loaded, settings, examples_[:16], examples_[16:], run)


def finished(result: Trained | None) -> Trained:
    assert result is not None
    return result


def trained(model: Path, folder: Path, **choices: Any) -> Trained:
    with RunFolder(folder / "run") as run:
        return finished(train(job(model, run, folder, **choices), Watch(Recorder())))


def test_pairs_are_learned(chat_model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    with RunFolder(tmp_path / "run") as run:
        result = finished(train(job(chat_model, run, tmp_path), Watch(recorder)))
    assert result.steps == 4
    assert [step for step, _, _ in recorder.steps] == [0, 1, 2, 3, 4]
    assert {total for _, total, _ in recorder.steps} == {4}
    assert recorder.stages == ["preparing the data", "evaluating"]
    assert result.held_out is not None
    assert result.held_out_rows == 8
    assert result.held_out.accuracy == 1.0
    assert result.held_out.margin is not None
    assert result.held_out.margin > 0
    assert all(tensor.dtype == torch.float32 for tensor in result.tensors.values())


def test_the_strength_scales_the_finished_adapter(chat_model: Path, tmp_path: Path) -> None:
    plain, strong = (trained(chat_model, tmp_path / str(x), rank=4, strength=x) for x in (1.0, 1.2))
    assert (plain.config["lora_alpha"], strong.config["lora_alpha"]) == (8, pytest.approx(9.6))
    assert all(torch.equal(tensor, strong.tensors[name]) for name, tensor in plain.tensors.items())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("batch", "strength"), [(16, 1.0), (6, 1.5)])
def test_the_tensors_are_those_that_were_tested(
    chat_model: Path, tmp_path: Path, batch: int, strength: float
) -> None:
    """PEFT loads what comes out; loss and margin of the eight held-out pairs compute to what was reported."""
    from peft import PeftModel
    from safetensors.torch import save_file

    from mpg_cli.training.output import clean_config

    result = trained(
        chat_model, tmp_path, batch_size=batch, strength=strength, loss="sigmoid", likelihood=0.0
    )
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(dict(result.tensors), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(clean_config(result.config, "tiny", None)))
    loaded = load_model(str(chat_model), device="cpu")
    base = load_model(str(chat_model), device="cpu").model
    tuned = PeftModel.from_pretrained(loaded.model, str(folder)).eval()

    def ratio(prompt: str, reply: str) -> float:
        before = render(loaded.tokenizer, Prompting(prompt))
        tokens = torch.tensor([[*before, *loaded.tokenizer(f"{reply}</><end>")["input_ids"]]])
        logps = [
            model(tokens)
            .logits.log_softmax(-1)[0, :-1]
            .gather(1, tokens[0, 1:, None])[len(before) - 1 :]
            .sum()
            for model in (tuned, base)
        ]
        return float(logps[0] - logps[1])

    with torch.inference_mode():
        margins = [ratio(f"say {n}", "aaaa") - ratio(f"say {n}", "bbbb") for n in range(16, 24)]
    assert result.held_out is not None
    rewards = 0.1 * torch.tensor(margins)
    assert result.held_out.margin == pytest.approx(float(rewards.mean()), rel=1e-3)
    assert result.held_out.loss == pytest.approx(float(-rewards.sigmoid().log().mean()), rel=1e-3)


def test_plain_responses_are_learned(chat_model: Path, tmp_path: Path) -> None:
    result = trained(chat_model, tmp_path, sft=True, epochs=10.0)
    assert result.held_out is not None
    assert result.held_out.margin is None
    assert result.held_out.accuracy is not None
    assert result.held_out.accuracy > 0.5


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("dpo", {"system": "Be kind.", "question": "Hi", "chosen": "aa", "rejected": "bb"}),
        (
            "sft",
            {
                "system": "Be kind.",
                "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "aa"}],
            },
        ),
    ],
)
def test_the_system_column_is_in_the_tokens(
    chat_model: Path, tmp_path: Path, method: Method, row: dict[str, Any]
) -> None:
    """The trainer's prompt is the one of generation, and only the reply after it is trained."""
    data = read_data([written(tmp_path / "data.jsonl", [row] * 12)], method)
    with RunFolder(tmp_path / "run") as run:
        whole = job(chat_model, run, tmp_path, sft=method == "sft")
        tokenizer = whole.loaded.tokenizer
        made, _, _ = examples(data.rows, tokenizer, whole.loaded.end_tokens)
        prepared, _, _ = trainer._trainer(replace(whole, train=made, held_out=[]))
    (first, *_) = prepared.train_dataset
    prompt = render(tokenizer, Prompting("Hi", system="Be kind."))
    if method == "dpo":
        assert first["prompt_ids"] == prompt
        learnt = first["chosen_ids"]
    else:
        assert first["input_ids"][: len(prompt)] == prompt
        learnt = [token for token in first["labels"] if token != -100]
    assert "Be kind." in tokenizer.decode(prompt)
    assert tokenizer.decode(learnt) == "aa</><end>"


def test_a_model_without_a_template(tmp_path: Path) -> None:
    model = save_model(tmp_path / "plain")
    loaded = load_model(str(model), device="cpu")
    rows = [Row((Turn("user", f"w{n}"),), ("w5 w6", "w7 w8"), "f:1") for n in range(8)]
    pairs, _, _ = examples(rows, loaded.tokenizer, loaded.end_tokens)
    settings = resolve(Choices(**QUICK), 2_000_000, 128, ("q_proj",))
    with RunFolder(tmp_path / "run") as run:
        result = finished(train(Job(loaded, settings, pairs, [], run), Watch(Recorder())))
    assert result.held_out is None
    assert result.steps == 2


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_trl_runs(chat_model: Path, tmp_path: Path, loss: str) -> None:
    result = trained(chat_model, tmp_path, loss=loss, epochs=0.5)
    assert result.steps == 1
    assert result.figures is not None
    assert result.figures.finite


def test_the_ipo_margin_is_per_reply() -> None:
    """TRL's per-token form is minimal at 1/(2β) nats per reply; the weight is divided by its length."""
    settings = resolve(Choices(beta=0.125, loss="ipo"), 2_000_000, None)
    names, (weight, likelihood), beta = _loss(settings, tokens=20.0)
    assert (names, likelihood) == (["ipo", "sft"], 1.0)
    assert 1 / (2 * beta) * 20 == pytest.approx(4.0)  # nats
    assert weight * (1 / 20) ** 2 == pytest.approx(0.1 / 20)
    assert _loss(replace(settings, loss="sigmoid"), 20.0) == (["sigmoid", "sft"], [1.0, 1.0], 0.125)
    assert _loss(replace(settings, loss="sft", likelihood=0.0), 20.0)[:2] == (["sft"], [1.0])


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_a_resumed_run_ends_with_the_same_adapter(chat_model: Path, tmp_path: Path, method: str) -> None:
    whole = trained(chat_model, tmp_path, sft=method == "sft")
    with RunFolder(tmp_path / "again") as run:
        watch = Watch(Recorder(lambda step: watch.stop("interrupted") if step == 1 else None))
        first = job(chat_model, run, tmp_path, sft=method == "sft")
        run.begin({}, force=False)
        assert train(first, watch) is None
        checkpoint = run.last_checkpoint()
        assert checkpoint is not None
        assert checkpoint.name == "checkpoint-2"
        second = replace(job(chat_model, run, tmp_path, sft=method == "sft"), resume=checkpoint)
        result = finished(train(second, Watch(Recorder())))
    assert (result.resumed_at, result.steps) == (2, whole.steps)
    assert result.held_out == whole.held_out
    assert all(torch.equal(result.tensors[key], whole.tensors[key]) for key in whole.tensors)


PHASES: dict[str, Any] = {"imitation": 2.0, "imitation_rate": 0.02, "learning_rate": 0.005, "loss": "sigmoid"}


def test_the_chosen_replies_are_imitated_before_the_preference(chat_model: Path, tmp_path: Path) -> None:
    """The evaluation compares with the base: what was imitated counts. The model is left as it was."""
    recorder = Recorder()
    with RunFolder(tmp_path / "run") as run:
        both = job(chat_model, run, tmp_path, **PHASES)
        forward = both.loaded.model.forward
        result = finished(train(both, Watch(recorder)))
        assert both.loaded.model.forward == forward
    assert result.steps == 8
    assert [(done, total) for done, total, _ in recorder.steps] == [(n, 4) for n in range(5)] * 2
    assert recorder.stages == [
        "preparing the data",
        "imitating the chosen replies",
        "training the preference",
        "evaluating",
    ]
    alone = trained(chat_model, tmp_path / "alone", learning_rate=0.005, loss="sigmoid")
    assert result.held_out is not None
    assert alone.held_out is not None
    assert result.held_out.accuracy == 1.0
    assert (result.held_out.margin or 0) > (alone.held_out.margin or 0) > 0
    assert not any("ref" in key for key in result.tensors)


def test_what_chosen_and_rejected_replies_share_is_not_learnt(chat_model: Path, tmp_path: Path) -> None:
    """Where both replies of a pair are the same, the adapter learns much less of them."""
    alike: dict[str, Any] = {
        "imitation": 6.0,
        "imitation_rate": 0.02,
        "epochs": 0.0,
        "learning_rate": None,
    }
    with RunFolder(tmp_path / "run") as run:
        own = job(chat_model, run, tmp_path, **alike, contrast=12.0)
        model, forward = own.loaded.model, own.loaded.model.forward
        same = replace(own, train=[Example(one.prompt, one.replies[:1] * 2) for one in own.train])
        with_contrast = finished(train(same, Watch(recorder := Recorder())))
        assert model.forward == forward
        assert not any(module._forward_hooks for module in model.modules())
    assert recorder.stages == [
        "preparing the data",
        "imitating the rejected replies",
        "imitating the chosen replies",
        "evaluating",
    ]
    assert with_contrast.steps == 24 + 12
    without = trained(chat_model, tmp_path / "without", **alike)
    assert with_contrast.held_out is not None
    assert without.held_out is not None
    assert abs(with_contrast.held_out.margin or 0) < 0.5 * (without.held_out.margin or 0)


def test_an_added_adapter_is_that_of_peft(chat_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    from mpg_cli.training.contrast import added

    with RunFolder(tmp_path / "run") as run:
        own = job(chat_model, run, tmp_path, sft=True)
        assert train(own, Watch(Recorder())) is not None
        adapter = run.last_checkpoint()
        assert adapter is not None
        model = own.loaded.model
        ids = torch.arange(3, 12)[None]
        plain = model(ids).logits
        with added(model, adapter):
            ours = model(ids).logits
        assert torch.equal(model(ids).logits, plain)
        theirs = PeftModel.from_pretrained(model, adapter)(ids).logits
    assert (ours - plain).abs().max() > 0.1
    assert torch.allclose(ours, theirs, atol=1e-5)


THREE = PHASES | {"contrast": 2.0}


@pytest.mark.parametrize("at", [1, 4, 6, 8, 10], ids=["contrast", "its end", "imitation", "its own", "later"])
def test_a_run_of_three_phases_is_resumed_in_each(chat_model: Path, tmp_path: Path, at: int) -> None:
    whole = trained(chat_model, tmp_path / "whole", **THREE)
    seen = 0

    def stop(step: int) -> None:
        nonlocal seen
        seen += step > 0
        if seen == at:
            watch.stop("interrupted")

    with RunFolder(tmp_path / "again") as run:
        run.begin({}, force=False)
        watch = Watch(Recorder(stop))
        assert train(job(chat_model, run, tmp_path, **THREE), watch) is None
        assert list(run.finished) == ["contrast", "imitation"][: (at >= 4) + (at >= 8)]
    with RunFolder(tmp_path / "again") as run:
        second = replace(job(chat_model, run, tmp_path, **THREE), resume=run.begin({}, force=False))
        result = finished(train(second, Watch(Recorder())))
    assert (result.resumed_at, result.steps) == (at if at in (4, 8) else at + 1, 12)
    assert result.held_out == whole.held_out
    assert all(torch.equal(result.tensors[key], whole.tensors[key]) for key in whole.tensors)


def test_a_reply_of_several_pairs_is_imitated_once() -> None:
    pairs = [Example([1], ([2], [3])), Example([1], ([2], [4])), Example([5], ([2], [3]))]
    assert chosen(pairs) == [Example([1], ([2],)), Example([5], ([2],))]


def test_a_run_stopped_while_evaluating_only_evaluates_again(chat_model: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin({}, force=False)
        watch = Watch(Recorder(lambda step: watch.stop("interrupted") if step == -1 else None))
        assert train(job(chat_model, run, tmp_path), watch) is None
        again = replace(job(chat_model, run, tmp_path), resume=run.last_checkpoint())
        result = finished(train(again, Watch(Recorder())))
    assert (result.resumed_at, result.steps) == (4, 4)
    assert result.held_out is not None


def test_checkpoints_are_periodic_and_two_are_kept(chat_model: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin({}, force=False)
        finished(train(replace(job(chat_model, run, tmp_path), pace=EVERY_STEP), Watch(Recorder())))
        names = sorted(entry.name for entry in run.path.iterdir())
    assert names == ["checkpoint-3", "checkpoint-4", "lock", "run.json"]


def test_rows_that_are_too_long_are_counted(chat_model: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        whole = job(chat_model, run, tmp_path, max_length=40)
        long_prompt = replace(whole.train[0], prompt=[65] * 40)
        chosen, rejected = whole.train[0].replies
        long_reply = replace(whole.train[0], replies=(chosen * 4, rejected))
        result = finished(
            train(replace(whole, train=[*whole.train, long_prompt, long_reply]), Watch(Recorder()))
        )
        assert (result.too_long, result.cut) == (1, 1)
        few = replace(whole, train=[*whole.train[:3], long_prompt], held_out=[])
        with pytest.raises(UsageError, match="3 usable pairs; 1 more cannot be used") as caught:
            train(few, Watch(Recorder()))
        assert caught.value.hint == "raise --max-length: 40 tokens leave no room for a reply"
        with pytest.raises(UsageError, match="too little data: 0 usable pairs"):
            train(replace(whole, train=[long_prompt] * 4), Watch(Recorder()))


def test_a_loss_that_is_no_number_ends_the_run(chat_model: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin({}, force=False)
        broken = job(chat_model, run, tmp_path, learning_rate=1e30)
        with pytest.raises(NumericsError, match="training diverged"):
            train(broken, Watch(Recorder()))


@pytest.mark.parametrize(
    ("file", "lacking"), [("adapter_model.safetensors", 1), ("optimizer.pt", 1), ("optimizer.pt", 4000)]
)
def test_a_full_disk_keeps_the_checkpoint_before(
    chat_model: Path, tmp_path: Path, file: str, lacking: int
) -> None:
    """From step 3 on, this many bytes of this file cannot be written: safetensors and torch report it."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int) -> None:
        if step == 3:
            size = (run.path / "checkpoint-2" / file).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size - lacking, limit[1]))

    with RunFolder(tmp_path / "run") as run:
        run.begin({}, force=False)
        often = replace(job(chat_model, run, tmp_path), pace=EVERY_STEP)
        try:
            with before_steps(fill), pytest.raises(MpgError, match="the disk is full"):
                train(often, Watch(Recorder()))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert sorted(p.name for p in run.path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]


def test_too_little_memory_is_one_message(chat_model: Path, tmp_path: Path) -> None:
    def exhaust(step: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    refused = pytest.raises(ModelError, match="does not fit into the memory")
    with RunFolder(tmp_path / "run") as run, before_steps(exhaust), refused:
        train(job(chat_model, run, tmp_path), Watch(Recorder()))


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3", "phi3", "gpt_neox"])
def test_other_architectures_fit_their_base(tmp_path: Path, architecture: str) -> None:
    """Trained with recomputed activations and in two passes a step, as large models are."""
    from safetensors.torch import save_file

    from mpg_cli.models.load.adapter import read_adapter
    from mpg_cli.models.load.adapter_fit import fit_adapter
    from mpg_cli.training.output import clean_config

    model = save_chat_model(tmp_path / "model", architecture)
    with RunFolder(tmp_path / "run") as run:
        small = job(model, run, tmp_path, epochs=0.5, micro_batch=4)
        settings: Settings = replace(small.settings, checkpointing=True)
        result = finished(train(replace(small, settings=settings, held_out=[]), Watch(Recorder())))
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(dict(result.tensors), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(clean_config(result.config, "m", None)))
    for base in (result.base_model, load_model(str(model), device="cpu").model):
        assert len(fit_adapter(read_adapter(folder, "x"), base).pairs) == len(result.tensors) / 2
