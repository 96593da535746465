"""The command line as scripts see it: exit codes, one line for a mistake, one JSON object where one is asked for."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import auditing
import pytest
import torch
from auditing import ROOM, Pairs
from command import Command
from domains.made import change, write_domain
from models.tiny import save_tiny, tiny_net, tiny_tokenizer
from test_audit import Broken

from unmask.report.progress import TokenProgress
from unmask.settings import Pair, Settings

pytestmark = pytest.mark.usefixtures("quick_audits")
tiny_pairs, quick_audits = auditing.tiny_pairs, auditing.quick_audits


@pytest.fixture
def unmask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_json_is_one_object_and_nothing_else(unmask: Command, tiny_pairs: Pairs, tmp_path: Path) -> None:
    words = tiny_pairs.words("--only", "structure", "--out", str(tmp_path / "run"), "--json")
    code, out, _ = unmask("audit", tiny_pairs.base, tiny_pairs.aligned, *words)
    assert code == 0
    printed = json.loads(out)
    assert printed == json.loads((tmp_path / "run" / "findings.json").read_text())
    assert printed["schema"] == "unmask/1"
    code, out, _ = unmask("report", tmp_path / "run", "--json")
    assert (code, json.loads(out)) == (0, printed)
    code, out, err = unmask("report", tmp_path / "run", "--quiet")
    assert (code, out, err) == (0, "", "")
    code, out, _ = unmask("report", tmp_path / "run")
    assert code == 0
    assert "inconclusive" in out
    assert "report.html" in out.replace("\n", "")


def test_the_default_folder_is_named_after_the_pair(
    unmask: Command,
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tiny_pairs.folder)
    words = tiny_pairs.words("--only", "structure", "--quiet")
    assert unmask("audit", "./base", "./aligned", *words)[0] == 0
    assert (tiny_pairs.folder / "runs" / "base--aligned" / "findings.json").exists()
    shutil.rmtree(tiny_pairs.folder / "runs")


class TestMistakes:
    """Each is one line, exit code 2, no traceback."""

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--domain", "partizan"), "no domain 'partizan'"),
            (("--profile", "slow"), "no profile 'slow'; there are quick, standard, full"),
            (("--only", "surfaec"), "no measurement 'surfaec'"),
            (("--skip", "surfaec"), "no measurement 'surfaec'"),
            (("--template", "fancy"), "template policy is 'fancy'"),
            (("--dtype", "float8"), "dtype 'float8' is unknown"),
            (("--device", "abacus"), "device 'abacus' is unknown"),
            (("--quantise", "3bit"), "cannot be quantised to '3bit'; give 8bit or 4bit"),
            (("--device", "cpu", "--offload"), "nothing to offload from"),
        ],
    )
    def test_words_that_name_nothing(
        self,
        unmask: Command,
        tiny_pairs: Pairs,
        tmp_path: Path,
        words: Sequence[str],
        says: str,
    ) -> None:
        line = unmask.refused("audit", tiny_pairs.base, tiny_pairs.aligned, "--out", tmp_path / "run", *words)
        assert says in line

    @pytest.mark.parametrize(
        ("reference", "says"),
        [
            ("./basse", "does not exist"),
            ("demo:maskd", "did you mean demo:masked"),
            ("weights.gguf", "does not exist"),
            ("a model", "is not a model reference"),
        ],
    )
    def test_a_model_that_is_nowhere(
        self,
        unmask: Command,
        tiny_pairs: Pairs,
        tmp_path: Path,
        reference: str,
        says: str,
    ) -> None:
        for pair in ((reference, tiny_pairs.aligned), (tiny_pairs.base, reference)):
            assert says in unmask.refused("audit", *pair, *tiny_pairs.words("--out", str(tmp_path / "run")))

    @pytest.mark.parametrize("kind", ["tokenizer", "shape", "pickle", "nan", "context", "no tokenizer"])
    def test_a_model_that_will_not_do(
        self,
        unmask: Command,
        tiny_pairs: Pairs,
        tmp_path: Path,
        kind: str,
    ) -> None:
        make, says = SPOILT[kind]
        folder = make(tmp_path / "spoilt")
        base = folder if kind == "context" else tiny_pairs.base
        words = tiny_pairs.words("--out", str(tmp_path / "run"))
        line = unmask.refused("audit", base, folder, *words)
        assert says in line

    def test_a_folder_that_is_no_run(self, unmask: Command, tmp_path: Path) -> None:
        assert "is not a run's folder: it has no run.json" in unmask.refused("report", tmp_path)
        assert "is not a run's folder" in unmask.refused("report", tmp_path / "nowhere")
        (tmp_path / "run.json").write_text("{")
        assert "is damaged" in unmask.refused("report", tmp_path)
        (tmp_path / "run.json").write_text("[]")
        assert "holds no JSON object" in unmask.refused("report", tmp_path)

    def test_a_run_of_another_version(self, unmask: Command, tiny_pairs: Pairs, tmp_path: Path) -> None:
        words = tiny_pairs.words("--only", "structure", "--out", str(tmp_path), "--quiet")
        unmask("audit", tiny_pairs.base, tiny_pairs.aligned, *words)
        facts = json.loads((tmp_path / "run.json").read_text())
        others = (
            {},
            facts | {"schema": "unmask/0"},
            {key: value for key, value in facts.items() if key != "n_layers"},
            facts | {"profile": facts["profile"] | {"probes": 3}},
            facts | {"frame": {"kind": "plain"}},
        )
        for other in others:
            (tmp_path / "run.json").write_text(json.dumps(other))
            assert "is not as this version writes it (unmask/1)" in unmask.refused("report", tmp_path)
        (tmp_path / "run.json").write_text(json.dumps(facts))
        assert unmask("report", tmp_path, "--quiet")[0] == 0

    def test_a_file_where_a_folder_should_be(
        self, unmask: Command, tiny_pairs: Pairs, tmp_path: Path
    ) -> None:
        path = tmp_path / "file"
        path.write_text("")
        words = tiny_pairs.words("--only", "structure", "--out", str(path))
        assert str(path) in unmask.refused("audit", tiny_pairs.base, tiny_pairs.aligned, *words)

    def test_a_record_that_is_damaged(self, unmask: Command, tiny_pairs: Pairs, tmp_path: Path) -> None:
        words = tiny_pairs.words("--only", "structure", "--out", str(tmp_path / "run"), "--quiet")
        unmask("audit", tiny_pairs.base, tiny_pairs.aligned, *words)
        record = sorted((tmp_path / "run").rglob("*.safetensors"))[0]
        record.write_bytes(b"")
        line = unmask.refused("report", tmp_path / "run")
        assert f"the record {record} is damaged; run the same audit again" in line
        code, _, err = unmask("audit", tiny_pairs.base, tiny_pairs.aligned, *words[:-1])
        name = record.relative_to(tmp_path / "run").as_posix()
        assert (code, err) == (0, f"unmask: 1 damaged record was measured again: {name}\n")
        assert unmask("report", tmp_path / "run", "--quiet")[0] == 0

    def test_a_damaged_domain(self, unmask: Command, tiny_pairs: Pairs, tmp_path: Path) -> None:
        domain = write_domain(tmp_path / "domain")
        change(domain / "statements.jsonl", 4, lambda row: row.pop("a"))
        line = unmask.refused(
            "audit", tiny_pairs.base, tiny_pairs.aligned, "--domain", domain, "--profile", "tiny"
        )
        assert f"{domain / 'statements.jsonl'}, line 4: field 'a'" in line


def other_tokens(folder: Path) -> Path:
    tiny_net("llama", **ROOM).save_pretrained(folder)
    tiny_tokenizer(extra=("<|more|>",)).save_pretrained(folder)
    return folder


def pickled(folder: Path) -> Path:
    save_tiny("llama", folder, 1, **ROOM)
    (folder / "model.safetensors").unlink()
    torch.save(tiny_net("llama", 1, **ROOM).state_dict(), folder / "pytorch_model.bin")
    return folder


def not_a_number(folder: Path) -> Path:
    net = tiny_net("llama", 1, **ROOM)
    with torch.no_grad():
        net.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    net.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def without_tokenizer(folder: Path) -> Path:
    tiny_net("llama", 1, **ROOM).save_pretrained(folder)
    return folder


SPOILT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tokenizer": (other_tokens, "do not share a tokenizer"),
    "shape": (lambda folder: save_tiny("llama", folder, 1, num_hidden_layers=2, **ROOM), "3 layers of 32"),
    "pickle": (pickled, "pickle files only"),
    "nan": (not_a_number, "not finite"),
    "context": (lambda folder: save_tiny("llama", folder, 0, max_position_embeddings=48), "takes at most 48"),
    "no tokenizer": (without_tokenizer, "has no tokenizer"),
}


def test_a_measurement_that_fails_is_exit_code_4(
    unmask: Command,
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from unmask.measurements import all_measurements

    known = {**all_measurements(), "broken": Broken()}
    monkeypatch.setattr("unmask.choosing.all_measurements", lambda: known)
    words = tiny_pairs.words("--only", "broken", "--out", str(tmp_path / "run"))
    code, out, err = unmask("audit", tiny_pairs.base, tiny_pairs.aligned, *words)
    assert code == 4
    assert "a third party's mistake" in " ".join((out + err).split())
    assert "Traceback" not in out + err
    assert (tmp_path / "run" / "report.html").exists()


def test_a_bug_is_one_sentence_and_no_missed_bar(
    unmask: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def bug(*_: object) -> None:
        raise KeyError("first line\nsecond line")

    monkeypatch.delenv("UNMASK_DEBUG", raising=False)
    monkeypatch.setattr("unmask.lab.demo.check.check_demo", bug)
    code, out, err = unmask("lab", "check", "--out", tmp_path)
    assert (code, out) == (4, "")
    assert err.startswith("unmask: unexpected error (KeyError: 'first line")
    assert "this is a bug, please report it" in err
    assert err.count("\n") == 1
    monkeypatch.setenv("UNMASK_DEBUG", "1")
    code, _, err = unmask("lab", "check", "--out", tmp_path)
    assert code == 4
    assert "Traceback" in err
    assert ", in bug" in err


def test_ctrl_c_is_exit_code_3_and_the_command_it_prints_goes_on(
    unmask: Command,
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "a run"
    words = [
        "audit",
        tiny_pairs.base,
        tiny_pairs.aligned,
        *tiny_pairs.words("--only", "structure", "--out", str(run)),
    ]
    advances: list[str] = []

    def advance(self: TokenProgress, engine: str, *_: object) -> None:
        advances.append(engine)
        if len(advances) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts the tests in the background has them ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(TokenProgress, "advance", advance)
            code, out, err = unmask(*words, "--fresh")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 3
    assert "Traceback" not in err
    assert out == ""
    command = err.strip().splitlines()[-1].partition("to go on: ")[2]
    assert shlex.split(command) == ["unmask", *map(str, words)]
    kept = len(list(run.rglob("*.safetensors")))
    assert kept == 1
    code, _, _ = unmask(*shlex.split(command)[1:], "--quiet")
    assert code == 0
    assert (run / "findings.json").exists()


def test_the_words_become_settings_and_back(
    unmask: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Pair, Settings]] = []

    def stop(pair: Pair, out: Path, settings: Settings, *_: object) -> None:
        seen.append((pair, settings))
        raise KeyboardInterrupt

    monkeypatch.setattr("unmask.auditing.audit", stop)
    asked = Settings(
        domains=("partisan", "./a domain"), profile="full", measurements=("surface", "structure"), skip=("surface",),
        judge="hf:org/name", device="cpu", dtype="float32", seed=7, template="plain", system="Be brief.",
        allow_pickle=True, trust_remote_code=True, quantise="4bit", offload=True,
    )  # fmt: skip
    for settings in (asked, Settings(), Settings(system="")):
        command = settings.command(Pair("demo:base", "./it's"), tmp_path / "run")
        assert unmask(*shlex.split(command)[1:])[0] == 3
        assert seen.pop() == (Pair("demo:base", "./it's"), settings)


class TestDomains:
    def test_check_accepts_a_sound_folder(self, unmask: Command, tmp_path: Path) -> None:
        folder = write_domain(tmp_path / "made")
        code, out, err = unmask("domains", "check", folder)
        assert (code, err) == (0, "")
        assert out == "made-up: sound (24 contrast pairs, 12 questions).\n"

    def test_check_lists_every_problem_with_its_place(self, unmask: Command, tmp_path: Path) -> None:
        folder = write_domain(tmp_path / "made")
        change(folder / "statements.jsonl", 2, lambda row: row.pop("a"))
        change(folder / "questions.jsonl", 5, lambda row: row.update(topic=3))
        code, out, err = unmask("domains", "check", folder)
        assert (code, out) == (2, "")
        places = [line.partition(": ")[0] for line in err.splitlines()]
        assert places == [f"{folder / 'statements.jsonl'}, line 2", f"{folder / 'questions.jsonl'}, line 5"]

    def test_check_of_nothing(self, unmask: Command, tmp_path: Path) -> None:
        assert "no domain" in unmask.refused("domains", "check", tmp_path / "nowhere")

    def test_list_and_show(self, unmask: Command) -> None:
        code, out, _ = unmask("domains", "list")
        assert code == 0
        assert "partisan" in out
        assert unmask("domains") == (0, out, "")
        code, out, _ = unmask("domains", "show", "partisan")
        assert code == 0
        assert "240" in out
        assert "no domain" in unmask.refused("domains", "show", "partizan")


def test_models_names_the_demo_models(unmask: Command) -> None:
    code, out, _ = unmask("models")
    assert code == 0
    assert "demo:base" in out
    assert "demo:masked" in out


def test_no_command_and_an_unknown_one_are_mistakes_in_words(unmask: Command) -> None:
    assert unmask("--help")[0] == 0
    for words in (("adit",), ("audit", "only-one"), ("audit", "a", "b", "--sede", "3")):
        code, _, err = unmask(*words)
        assert code == 2
        assert "Traceback" not in err
