"""An audit from end to end on tiny random models: complete, repeatable, resumable, and judged again without models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import auditing
import numpy as np
import pandas as pd
import pytest
from auditing import ROOM, TINY, Pairs, by_code, judge_of_the_card
from domains.made import change
from models.tiny import tiny_net, tiny_tokenizer

from unmask import ModelError, Pair, Run, SettingsError, audit, judge_again
from unmask.choosing import choose_measurements
from unmask.domains import load_domain
from unmask.folder import INDEX, RunFolder
from unmask.measurements import all_measurements
from unmask.measurements.base import Asking, Claim, Context
from unmask.measurements.profiles import PROFILES
from unmask.models import Add, Vector, parse_reference
from unmask.models.judges import FunctionJudge
from unmask.opening import open_pair
from unmask.runner import local
from unmask.runner.records import MissingRecord
from unmask.runner.requests import Score

pytestmark = pytest.mark.usefixtures("quick_audits")
tiny_pairs, quick_audits = auditing.tiny_pairs, auditing.quick_audits
MEASUREMENTS = {"surface", "structure", "variance", "causality", "reactivation"}


def findings(folder: Path) -> str:
    return (folder / "findings.json").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Pairs) -> Run:
    """One audit that several tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROFILES, "tiny", TINY)
        patch.setenv("UNMASK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("unmask.models.judges.build_judge", by_code)
        folder = tmp_path_factory.mktemp("run") / "whole"
        return audit(Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)), folder, tiny_pairs.settings())


def test_an_audit_writes_everything_that_a_run_is(whole: Run) -> None:
    assert not whole.failed, whole.findings["results"][0]["failures"]
    folder = whole.folder.path
    (result,) = json.loads(findings(folder))["results"]
    assert result["domain"] == "made-up"
    assert {finding["measurement"] for finding in result["findings"]} == MEASUREMENTS
    claims = {claim for name in MEASUREMENTS for claim in all_measurements()[name].claims}
    assert {finding["id"] for finding in result["findings"]} == claims
    assert result["verdict"]["label"] in (
        "not neutral",
        "already neutral",
        "masked",
        "structural",
        "inconclusive",
    )
    assert set(result["profile_axes"]) == {
        "surface",
        "representation",
        "causation",
        "context",
        "tokens",
        "weights",
    }

    facts = json.loads((folder / "run.json").read_text())
    assert facts["settings"]["judge"] == "judge_of_the_card"
    assert facts["profile"]["name"] == "tiny"
    assert set(facts["identities"]) == {"base", "aligned", "judge of made-up"}
    assert facts["halved_batches"] == []
    assert (folder / "report.html").stat().st_size > 10_000
    tables = {path.relative_to(folder / "readings").as_posix() for path in folder.rglob("*.parquet")}
    assert {f"made-up/{name}" for name in ("surface.answers.parquet", "structure.transfer.parquet")} <= tables


def test_it_is_judged_again_from_its_records_alone(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole.folder.path, folder)
    before = findings(folder)
    (folder / "findings.json").unlink()
    (folder / "report.html").unlink()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was touched")

    for name in (
        "unmask.opening.load_model",
        "unmask.runner.local.LocalRunner.answer",
        "unmask.opening.resolve",
    ):
        monkeypatch.setattr(name, never)
    again = judge_again(folder)
    assert findings(folder) == before
    assert (folder / "report.html").exists()
    assert set(again.tables) == set(whole.tables)
    for name, table in whole.tables.items():
        assert again.tables[name].equals(table), name


def test_the_same_audit_asks_nothing_twice_and_finds_the_same(
    whole: Run,
    tiny_pairs: Pairs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = findings(whole.folder.path)
    monkeypatch.setattr(local, "serve", lambda *_: pytest.fail("a model was asked again"))
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    audit(pair, whole.folder.path, tiny_pairs.settings())
    assert findings(whole.folder.path) == before


def test_every_row_is_asked_of_a_model_once(
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Across rounds and measurements; and a model against itself shares all that is not sampled."""
    rows: list[tuple[str, object]] = []
    serve = local.serve

    def counting(engine: Any, requests: Any) -> Any:
        rows.extend((engine.identity, request) for request in requests)
        return serve(engine, requests)

    monkeypatch.setattr(local, "serve", counting)
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.base))
    run = audit(pair, tmp_path / "self", tiny_pairs.settings())
    keys = [(identity, local.request_key(row, run.facts["identities"])) for identity, row in rows]  # type: ignore[arg-type]
    assert len(keys) == len(set(keys))

    verdict = run.findings["results"][0]["verdict"]
    assert verdict["label"] in ("not neutral", "already neutral", "inconclusive")
    status = {finding["id"]: finding["status"] for finding in run.findings["results"][0]["findings"]}
    assert status["surface.neutralised"] != "supported"
    assert status["structure.erased"] != "supported"
    assert status["variance.compressed"] != "supported"
    assert status["variance.specific"] != "supported"
    assert status["causality.disconnected"] != "supported"


class Stop(Exception):
    pass


class StopAfter:
    def __init__(self, batches: int) -> None:
        self.left = batches

    def expect(self, forecast: object) -> None:
        pass

    def begin(self, tokens: Mapping[str, float], done: Mapping[str, float]) -> None:
        assert all(0 < done[kind] <= tokens[kind] for kind in done)

    def advance(self, engine: str, kind: str, tokens: float, seconds: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop


@pytest.mark.parametrize("batches", [1, 40])
def test_a_stopped_audit_goes_on_and_finds_the_same(
    whole: Run,
    tiny_pairs: Pairs,
    tmp_path: Path,
    batches: int,
) -> None:
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    with pytest.raises(Stop):
        audit(pair, tmp_path / "cut", tiny_pairs.settings(), StopAfter(batches))
    with pytest.raises(MissingRecord, match="unfinished: run the same audit again"):
        judge_again(tmp_path / "cut")
    audit(pair, tmp_path / "cut", tiny_pairs.settings())
    assert findings(tmp_path / "cut") == findings(whole.folder.path)


def test_another_profile_in_the_same_folder_leaves_each_report_with_its_own(
    tiny_pairs: Pairs,
    tmp_path: Path,
) -> None:
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    one = audit(pair, tmp_path / "run", tiny_pairs.settings(measurements=("structure",)))
    two = audit(pair, tmp_path / "run", tiny_pairs.settings(measurements=("structure",), seed=1))
    assert one.findings["seed"] == 0
    assert dict(judge_again(tmp_path / "run").findings) == dict(two.findings)


class Killed(BaseException):
    pass


def test_a_run_that_is_killed_never_shows_the_records_of_another_under_its_facts(
    tiny_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any file that goes or comes, up to its first record: the folder is as it was, or unfinished."""
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    first = audit(pair, tmp_path / "first", tiny_pairs.settings(measurements=("structure",)))
    other = tiny_pairs.settings(measurements=("structure",), dtype="bfloat16")
    folder = tmp_path / "run"
    left = 0

    def counted(work: Any) -> Any:
        def step(path: Path, *args: Any, **more: Any) -> Any:
            nonlocal left
            if path.is_relative_to(folder):
                if left == 0:
                    raise Killed
                left -= 1
            return work(path, *args, **more)

        return step

    for steps in range(99):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(first.folder.path, folder)
        left = steps
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", counted(Path.unlink))
            patch.setattr(Path, "replace", counted(Path.replace))
            with pytest.raises(Killed):
                audit(pair, folder, other)
        if (folder / INDEX).exists():
            assert dict(judge_again(folder).findings) == dict(first.findings)
            continue
        with pytest.raises(MissingRecord, match="unfinished"):
            judge_again(folder)
        if json.loads((folder / "run.json").read_text())["dtype"] == "bfloat16":
            break
    left_over = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in left_over if name in {"index.json", "findings.json", "report.html"}]
    assert list(folder.rglob("*.parquet")) == []
    done = audit(pair, folder, other)
    assert dict(judge_again(folder).findings) == dict(done.findings)


def test_fresh_asks_again_but_not_before_the_pair_is_sound(
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny_pairs.settings(measurements=("structure",))
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    audit(pair, tmp_path / "run", settings)
    n = len(list((tmp_path / "run").rglob("*.safetensors")))
    with pytest.raises(ModelError):
        audit(Pair(str(tiny_pairs.base), "./nowhere"), tmp_path / "run", settings, fresh=True)
    assert len(list((tmp_path / "run").rglob("*.safetensors"))) == n > 0
    batches: list[int] = []
    serve = local.serve
    monkeypatch.setattr(local, "serve", lambda engine, rows: batches.append(len(rows)) or serve(engine, rows))
    audit(pair, tmp_path / "run", settings)
    assert batches == []
    audit(pair, tmp_path / "run", settings, fresh=True)
    assert len(batches) == n


class Broken:
    name: ClassVar[str] = "broken"
    family: ClassVar[str] = "mask"
    needs: ClassVar[tuple[str, ...]] = ("structure",)
    claims: ClassVar[Mapping[str, Claim]] = {}

    def measure(self, ctx: Context) -> Asking:
        yield []
        raise ValueError("a third party's mistake")


def test_a_measurement_that_fails_is_reported_beside_the_others(
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {**all_measurements(), "broken": Broken()}
    monkeypatch.setattr("unmask.choosing.all_measurements", lambda: known)
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    run = audit(pair, tmp_path / "run", tiny_pairs.settings(measurements=("broken",)))
    assert run.failed
    (result,) = run.findings["results"]
    assert result["failures"] == [{"measurement": "broken", "message": "ValueError: a third party's mistake"}]
    assert {finding["measurement"] for finding in result["findings"]} == {"structure"}
    assert judge_again(tmp_path / "run").failed


class TooStrong(Broken):
    name: ClassVar[str] = "too strong"

    def measure(self, ctx: Context) -> Asking:
        vector = Vector("loud", np.full(32, 2, np.float32))
        pushed = [
            Score("base", ctx.frame.ask("Well?"), "yes", Add((1,), vector, dose)) for dose in (0.1, 3e38)
        ]
        records = yield pushed
        assert np.isfinite(records.array(pushed[0])).all()
        raise AssertionError(f"no answer was to be had: {records.array(pushed[1])}")


def test_a_measurement_whose_own_edit_breaks_the_model_fails_and_the_others_do_not(
    tiny_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**all_measurements(), "too strong": TooStrong()}
    monkeypatch.setattr("unmask.choosing.all_measurements", lambda: known)
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    run = audit(pair, tmp_path / "run", tiny_pairs.settings(measurements=("too strong",)))
    (result,) = run.findings["results"]
    (failure,) = result["failures"]
    assert failure["measurement"] == "too strong"
    assert "not finite" in failure["message"]
    assert "the edit is too strong" in failure["message"]
    assert {finding["measurement"] for finding in result["findings"]} == {"structure"}
    assert dict(judge_again(tmp_path / "run").findings) == dict(run.findings)


def test_a_run_is_judged_by_the_domain_that_it_audited_and_no_other(
    tiny_pairs: Pairs, tmp_path: Path
) -> None:
    domain, run = tmp_path / "domain", tmp_path / "run"
    shutil.copytree(tiny_pairs.domain, domain)
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    settings = tiny_pairs.settings(domains=(str(domain),), measurements=("structure",))
    shutil.copy(domain / "answers.jsonl", domain / "requests.jsonl.bak")  # none of the domain's business
    audit(pair, run, settings)
    assert not (run / "domains" / "made-up" / "requests.jsonl.bak").exists()
    (domain / "card.jsonl").unlink()  # then partisan's is borrowed
    change(domain / "questions.jsonl", 1, lambda row: row.update(a="Changed."))
    before = findings(run)
    judge_again(run)
    assert findings(run) == before
    audit(pair, run, settings)  # the copy is replaced, and what the domain no longer has is gone
    assert not (run / "domains" / "made-up" / "card.jsonl").exists()
    judge_again(run)
    change(run / "domains" / "made-up" / "questions.jsonl", 1, lambda row: row.update(a="Changed again."))
    with pytest.raises(SettingsError, match=r"is not as it was audited.*run the same audit again"):
        judge_again(run)


def test_a_domain_that_lies_where_its_copy_goes_is_left_as_it_is(tiny_pairs: Pairs, tmp_path: Path) -> None:
    domain = tmp_path / "domains" / "made-up"
    shutil.copytree(tiny_pairs.domain, domain)
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    audit(pair, tmp_path, tiny_pairs.settings(domains=(str(domain),), measurements=("structure",)))
    for path in tiny_pairs.domain.iterdir():
        assert (domain / path.name).read_bytes() == path.read_bytes()


def test_a_run_that_was_moved_is_judged_again_without_its_models_and_its_domain(
    tiny_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for name in ("base", "aligned", "domain"):
        shutil.copytree(tiny_pairs.folder / name, there / name)
    settings = tiny_pairs.settings(domains=("./domain",), measurements=("structure", "surface"))
    with monkeypatch.context() as patch:
        patch.chdir(there)
        audit(Pair("./base", "./aligned"), "run", settings)
    shutil.move(there / "run", here)
    shutil.rmtree(there)
    before = findings(here)
    judge_again(here)
    assert findings(here) == before
    assert str(tmp_path) not in (here / "run.json").read_text()


def test_two_domains_in_one_run_and_none_twice(tiny_pairs: Pairs, tmp_path: Path) -> None:
    second = tmp_path / "second"
    shutil.copytree(tiny_pairs.domain, second)
    header = second / "domain.toml"
    header.write_text(header.read_text().replace("made-up", "second"))
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    both = (str(tiny_pairs.domain), str(second))
    run = audit(pair, tmp_path / "run", tiny_pairs.settings(domains=both, measurements=("structure",)))
    assert [result["domain"] for result in run.findings["results"]] == ["made-up", "second"]
    with pytest.raises(SettingsError, match="two of the domains are named 'made-up'"):
        audit(pair, tmp_path / "twice", tiny_pairs.settings(domains=(both[0], both[0])))


def test_weight_noise_is_another_model(tiny_pairs: Pairs, tmp_path: Path) -> None:
    base = parse_reference(str(tiny_pairs.base))
    run = audit(
        Pair(base, base.with_noise(1e-3)), tmp_path / "run", tiny_pairs.settings(measurements=("structure",))
    )
    assert run.facts["identities"]["base"] != run.facts["identities"]["aligned"]
    assert "noise" in run.facts["pair"]["aligned"]


def test_a_judge_is_recorded_by_its_name_and_its_answers_stay_in_the_run(
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    judge = FunctionJudge(judge_of_the_card, "my judge", "2")
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    run = audit(pair, tmp_path / "run", tiny_pairs.settings(judge=judge, measurements=("surface",)))
    assert run.facts["settings"]["judge"] == "my judge"
    assert run.facts["identities"]["judge of made-up"] == judge.identity
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []


def test_what_can_change_a_models_bits_is_in_its_records_keys(
    tiny_pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, domains = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)), {"d": load_domain(tiny_pairs.domain)}

    def facts(**more: Any) -> dict[str, dict[str, object]]:
        engines = open_pair(pair, tiny_pairs.settings(**more), domains).engines
        return {name: dict(engine.facts) for name, engine in engines.items()}

    plain = {"dtype": "float32", "device": "cpu"}
    assert facts() == {"base": plain, "aligned": plain, "judge of d": plain}
    own_code = {**plain, "trust_remote_code": True}
    assert facts(trust_remote_code=True) == {"base": own_code, "aligned": own_code, "judge of d": plain}
    monkeypatch.setattr("unmask.opening.choose_device", lambda _: "cuda:1")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"Abacus 9000 at {device}")
    on_gpu = {"dtype": "float32", "device": "cuda", "gpu": "Abacus 9000 at cuda:1"}
    assert facts() == {"base": on_gpu, "aligned": on_gpu, "judge of d": on_gpu}
    offloaded = {**on_gpu, "offload": True}
    assert facts(offload=True) == {"base": offloaded, "aligned": offloaded, "judge of d": on_gpu}


def test_a_run_says_its_frame_and_nothing_of_where_its_files_lie(
    tiny_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words stay as they were typed."""
    shutil.copytree(tiny_pairs.domain, tmp_path / "domain")
    shutil.copytree(tiny_pairs.aligned, tmp_path / "aligned")
    tiny_net("llama", 0, **ROOM).save_pretrained(tmp_path / "base")
    tiny_tokenizer(chat=False).save_pretrained(tmp_path / "base")
    settings = tiny_pairs.settings(domains=("./domain",), measurements=("structure",))
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        run = audit(Pair("./base", "./aligned"), "run", settings)
        facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["frame"]["kind"] == "template"
    assert facts["frame"]["note"].startswith("The aligned model's chat template on both models")
    assert facts["notes"][-1] == facts["frame"]["note"]
    assert facts["domains"][0]["reference"] == "domain"
    assert str(tmp_path) not in json.dumps(facts)
    assert str(tmp_path) not in (tmp_path / "run" / "report.html").read_text()
    assert "./base" in facts["command"]
    assert dict(judge_again(tmp_path / "run").findings) == dict(run.findings)

    plain = audit(
        Pair(str(tmp_path / "aligned"), str(tmp_path / "base")),
        tmp_path / "plain",
        replace(settings, domains=(str(tmp_path / "domain"),)),
    )
    assert plain.facts["frame"]["note"] == (
        "Plain frame on both models: the aligned model's tokenizer has no chat template."
    )


def test_tables_are_whole_and_those_of_another_run_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, table = RunFolder(tmp_path), pd.DataFrame({"x": [1, 2]})
    folder.write_tables({"d/one.a": table, "d/two.b": table})
    (tmp_path / "readings" / "d" / "notes.txt").write_text("mine")

    def killed(self: pd.DataFrame, path: Path, **_: Any) -> None:
        path.write_bytes(b"half a table")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", killed)
        with pytest.raises(Killed):
            folder.write_tables({"d/one.a": table * 2})
    kept = {path.name for path in (tmp_path / "readings").rglob("*") if path.is_file()}
    assert kept == {"one.a.parquet", "two.b.parquet", "notes.txt"}
    assert pd.read_parquet(tmp_path / "readings" / "d" / "one.a.parquet").equals(table)
    folder.write_tables({"d/one.a": table * 2})
    kept = {path.name for path in (tmp_path / "readings").rglob("*") if path.is_file()}
    assert kept == {"one.a.parquet", "notes.txt"}
    assert pd.read_parquet(tmp_path / "readings" / "d" / "one.a.parquet").equals(table * 2)


class TestChoosing:
    def names(self, *wanted: str, skip: tuple[str, ...] = ()) -> set[str]:
        return {measurement.name for measurement in choose_measurements(wanted or None, skip)}

    def test_all_by_default_and_those_that_are_built_on(self) -> None:
        assert self.names() == MEASUREMENTS
        assert self.names("surface") == {"surface"}
        assert self.names("variance") == {"variance", "structure"}

    def test_what_is_skipped_takes_along_what_builds_on_it(self) -> None:
        assert self.names(skip=("structure",)) == {"surface"}
        assert self.names(skip=("surface", "causality")) == {"structure", "variance", "reactivation"}

    def test_nothing_left_and_names_that_are_none(self) -> None:
        with pytest.raises(SettingsError, match="no measurement is left"):
            self.names("variance", skip=("structure",))
        for wanted, skip in ((("surfaec",), ()), ((), ("surfaec",))):
            with pytest.raises(SettingsError, match="no measurement 'surfaec'; there are"):
                self.names(*wanted, skip=skip)


def test_a_spoilt_index_is_named(whole: Run, tmp_path: Path) -> None:
    shutil.copytree(whole.folder.path, tmp_path / "run")
    index = tmp_path / "run" / INDEX
    index.write_text(index.read_text().replace('"batches"', '"catches"'))
    with pytest.raises(MissingRecord, match=r"index\.json is damaged: run the same audit again"):
        judge_again(tmp_path / "run")
