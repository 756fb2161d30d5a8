"""The folder of an unfinished run: which checkpoint is used, and that other settings are refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from mpg_cli.errors import UsageError
from mpg_cli.training.run import RunFolder


def archive() -> bytes:
    """A file as torch writes it."""
    file = io.BytesIO()
    torch.save({"step": torch.ones(100)}, file)
    return file.getvalue()


PLAN = {"rank": 8, "data": "abc"}
WHOLE = {"adapter_model.safetensors": save({}), "optimizer.pt": archive(), "scheduler.pt": archive()}


def checkpoint(folder: Path, step: int, state: str | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    for name, content in WHOLE.items():
        (path / name).write_bytes(content)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}) if state is None else state)
    return path


def test_nothing_stays_of_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a" / "run") as run:
        run.begin(PLAN, force=False)
    assert not (tmp_path / "a" / "run").exists()


def test_a_plan_without_checkpoints_does_not_block_another(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(PLAN))
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN | {"rank": 4}, force=False) is None
        assert json.loads((run.path / "run.json").read_text())["rank"] == 4


def test_the_newest_complete_checkpoint_counts(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN, force=False) is None
        checkpoint(run.path, 9)
        newest = checkpoint(run.path, 10)
        torn = checkpoint(run.path, 20, state='{"global_')
        killed = checkpoint(run.path, 30)
        (killed / "trainer_state.json").unlink()
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN, force=False) == newest
        assert not torn.exists()
        assert not killed.exists()
        run.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
def test_another_run_is_refused_or_cleared(tmp_path: Path, force: bool) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=False)
        kept = checkpoint(run.path, 10)
    with RunFolder(tmp_path / "run") as run:
        if force:
            assert run.begin(PLAN | {"rank": 4}, force=True) is None
        else:
            with pytest.raises(UsageError, match="with other settings: rank was 8 and is 4") as caught:
                run.begin(PLAN | {"rank": 4}, force=False)
            assert "--force" in str(caught.value.hint)
    assert kept.exists() is not force


def test_force_starts_the_same_run_over(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=True)
        kept = checkpoint(run.path, 10)
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN, force=True) is None
        assert not kept.exists()


def flip(content: bytes) -> bytes:
    return content[:500] + bytes([content[500] ^ 1]) + content[501:]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("tear", [lambda content: content[:-1], lambda content: b""], ids=["cut", "empty"])
def test_a_torn_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, name: str, tear: Callable[[bytes], bytes]
) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=False)
        before, torn = checkpoint(run.path, 10), checkpoint(run.path, 20)
        (torn / name).write_bytes(tear((torn / name).read_bytes()))
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN, force=False) == before
        assert run.dropped == [torn]
        assert not torn.exists()


def test_where_all_checkpoints_are_damaged_the_run_starts_anew(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=False)
        file = checkpoint(run.path, 10) / "optimizer.pt"
        file.write_bytes(flip(file.read_bytes()))
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN | {"rank": 4}, force=False) is None
        assert [path.name for path in run.dropped] == ["checkpoint-10"]


def test_checkpoints_of_an_unreadable_plan_are_dropped(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=False)
        checkpoint(run.path, 10)
        (run.path / "run.json").write_text("{")
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN, force=False) is None


def test_a_finished_imitation_is_kept_for_the_preference(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=False)
        checkpoint(run.path, 10)
        checkpoint(run.path, 20)
        assert not run.finished
        kept = run.finish("imitation")
        assert json.loads((kept / "trainer_state.json").read_text())["global_step"] == 20
        assert run.last_checkpoint() is None
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN, force=False) is None
        assert run.finished == {"imitation": kept}
        later = checkpoint(run.path, 5)
    with RunFolder(tmp_path / "run") as run:
        with pytest.raises(UsageError, match="with other settings"):
            run.begin(PLAN | {"rank": 4}, force=False)
        assert run.begin(PLAN, force=False) == later
        assert run.begin(PLAN, force=True) is None
        assert not run.finished


def test_a_damaged_imitation_takes_the_preference_with_it(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=False)
        checkpoint(run.path, 10)
        kept = run.finish("imitation")
        checkpoint(run.path, 5)
        (kept / "adapter_model.safetensors").write_bytes(b"")
    with RunFolder(tmp_path / "run") as run:
        assert run.begin(PLAN, force=False) is None
        assert (run.dropped, run.finished, run.last_checkpoint()) == ([kept], {}, None)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with RunFolder(tmp_path / "run") as run:
        run.begin(PLAN, force=False)
        with pytest.raises(UsageError, match="another mpg train is writing"), RunFolder(run.path):
            pass
        assert (run.path / "run.json").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"), RunFolder(tmp_path / "file" / "run"):
        pass
