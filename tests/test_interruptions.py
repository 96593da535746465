"""Audits that are killed, stopped, damaged, crowded out or short of room: nothing is lost, no finding is another."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import auditing
import numpy as np
import pytest
import test_cli
from auditing import Pairs
from interrupted import start
from test_cli import Command

from unmask import FolderInUse, Pair, audit, judge_again
from unmask.folder import RunFolder
from unmask.runner import local
from unmask.runner.store import DamagedRecord, MissingRecord

tiny_pairs, quick_audits, unmask = auditing.tiny_pairs, auditing.quick_audits, test_cli.unmask
SOME = ("structure", "surface")


class Audit:
    """One command, to be run again and again in its folder."""

    def __init__(self, pairs: Pairs, out: Path, *more: str) -> None:
        self.out, self.said = out, out.with_suffix(".said")
        self.words = ["audit", str(pairs.base), str(pairs.aligned), *pairs.words("--out", str(out), *more)]

    def start(self) -> BaseProcess:
        return start(self.words, self.said)

    def run(self) -> int:
        """Run to the end; the exit code."""
        process = self.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    @property
    def line(self) -> str:
        """The one line that was printed."""
        (line,) = self.said.read_text().strip().splitlines()
        return line

    @property
    def findings(self) -> bytes:
        return (self.out / "findings.json").read_bytes()

    @property
    def records(self) -> list[Path]:
        return sorted((self.out / "records").glob("*/*.safetensors"))


def some(pairs: Pairs, out: Path) -> Audit:
    """An audit of two measurements."""
    return Audit(pairs, out, *(word for name in SOME for word in ("--only", name)))


@pytest.fixture(scope="module")
def whole(tiny_pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """All measurements, and nobody interrupts."""
    done = Audit(tiny_pairs, tmp_path_factory.mktemp("whole") / "run")
    assert done.run() == 0, done.said.read_text()
    return done


@pytest.fixture(scope="module")
def part(tiny_pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Some measurements, and nobody interrupts."""
    done = some(tiny_pairs, tmp_path_factory.mktemp("part") / "run")
    assert done.run() == 0, done.said.read_text()
    return done


def wait_for(condition: Callable[[], Any]) -> None:
    """Until it holds, at most a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def spoil(path: Path, byte: int, by: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= by
    path.write_bytes(data)


def test_killed_twenty_times_it_finds_the_same(whole: Audit, tiny_pairs: Pairs, tmp_path: Path) -> None:
    """Four audits, each killed five times before it may finish."""
    begun = time.monotonic()
    assert Audit(tiny_pairs, tmp_path / "run").run() == 0
    longest = time.monotonic() - begun
    rng, left = np.random.default_rng(0), list[int]()
    for k in range(4):
        cut = Audit(tiny_pairs, tmp_path / str(k))
        while len(left) < 5 * (k + 1):
            process = cut.start()
            process.join(longest * rng.uniform(0, 0.4))
            process.kill()
            process.join()
            if process.exitcode == 0:  # it came through before, and begins anew
                assert cut.findings == whole.findings
                shutil.rmtree(cut.out)
            else:
                assert process.exitcode == -signal.SIGKILL, cut.said.read_text()
                left.append(len(cut.records))
        assert cut.run() == 0
        assert cut.findings == whole.findings
    at_work = [n for n in left if 0 < n < len(whole.records)]
    assert len(at_work) >= 5, left  # not only before the models run and after


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_exit_code_3_and_the_command_it_prints_goes_on(
    part: Audit, tiny_pairs: Pairs, tmp_path: Path, number: int
) -> None:
    cut = some(tiny_pairs, tmp_path / "a run")
    process = cut.start()
    wait_for(lambda: len(cut.records) >= 3)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 3
    assert 3 <= len(cut.records) < len(part.records)
    command = cut.line.partition("unmask: stopped. What is done is kept; to go on: ")[2]
    assert shlex.split(command) == ["unmask", *cut.words]
    assert not list((cut.out / "records").glob("*/.*"))
    assert cut.run() == 0
    assert cut.findings == part.findings


@pytest.mark.usefixtures("quick_audits")
def test_a_second_audit_in_the_folder_is_refused_and_told_who_holds_it(
    part: Audit, tiny_pairs: Pairs, tmp_path: Path, unmask: Command
) -> None:
    cut = some(tiny_pairs, tmp_path / "run")
    process = cut.start()
    assert process.pid is not None
    wait_for(lambda: cut.records)
    os.kill(process.pid, signal.SIGSTOP)
    before = {path: path.stat().st_mtime_ns for path in cut.out.rglob("*")}
    for words in (cut.words, ["report", cut.out]):
        line = unmask.refused(*words)
        assert f"{cut.out} is in use by process {process.pid} on {os.uname().nodename} since 20" in line
    assert {path: path.stat().st_mtime_ns for path in cut.out.rglob("*")} == before
    process.kill()
    process.join()
    assert cut.run() == 0  # at once: a lock does not outlive its process
    assert cut.findings == part.findings


def test_within_one_process_a_folder_is_held_once_and_let_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.held(), pytest.raises(FolderInUse, match=f"process {os.getpid()} on"), folder.held():
        pass
    with pytest.raises(KeyError), folder.held():
        raise KeyError
    with folder.held():
        (folder.path / ".holder.json").unlink()
        with pytest.raises(FolderInUse, match="another process"), folder.held():
            pass


@pytest.mark.usefixtures("quick_audits")
def test_a_flipped_byte_is_found_and_named_and_its_batch_measured_again(
    part: Audit, tmp_path: Path, tiny_pairs: Pairs
) -> None:
    cut = some(tiny_pairs, tmp_path / "run")
    shutil.copytree(part.out, cut.out)
    rng = np.random.default_rng(0)
    whole = {path: path.read_bytes() for path in cut.records}
    flips = [
        (path, int(rng.integers(len(whole[path]))), int(rng.integers(1, 256)))
        for path in (cut.records[i] for i in rng.integers(len(whole), size=24))
    ]
    for path, byte, by in flips:
        spoil(path, byte, by)
        with pytest.raises(MissingRecord, match=f"{path} is damaged; run the same audit again"):
            judge_again(cut.out)
        path.write_bytes(whole[path])
    spoilt = {path: (byte, by) for path, byte, by in flips}
    for path, (byte, by) in spoilt.items():
        spoil(path, byte, by)
    assert cut.run() == 0
    assert cut.findings == part.findings
    assert {path: path.read_bytes() for path in cut.records} == whole
    damaged = RunFolder(cut.out).read("run.json")["damaged_records"]
    assert sorted(cut.out / name for name in damaged) == sorted(spoilt)
    said = cut.said.read_text()
    assert f"unmask: {len(spoilt)} damaged records were measured again: {', '.join(damaged[:3])}, …" in said
    assert cut.run() == 0
    assert "damaged" not in cut.said.read_text()


@pytest.mark.usefixtures("quick_audits")
@pytest.mark.parametrize(
    ("byte", "taken"), [(-1, True), (100, False)], ids=["in an answer", "beside the answers"]
)
def test_a_byte_flipped_while_the_run_is_on_stops_it_or_changes_nothing(
    part: Audit,
    tiny_pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unmask: Command,
    byte: int,
    taken: bool,
) -> None:
    cut, serve, batches = some(tiny_pairs, tmp_path / "run"), local.serve, list[int]()

    def flipping(*args: Any) -> Any:
        if len(batches) == 5:
            for path in cut.records:
                spoil(path, byte)
        batches.append(1)
        return serve(*args)

    with monkeypatch.context() as patch:
        patch.setattr(local, "serve", flipping)
        code, _, err = unmask(*cut.words, "--quiet")
    if taken:
        assert code == 3
        assert not (cut.out / "findings.json").exists()
        (line,) = err.strip().splitlines()
        sentence, _, command = line.partition(" What is done is kept; to go on: ")
        assert sentence.startswith(f"unmask: the record {cut.out}")
        assert sentence.endswith(" was damaged while the run was on.")
        assert shlex.split(command) == ["unmask", *cut.words, "--quiet"]
    else:
        assert (code, err) == (0, "")
        assert cut.findings == part.findings
    assert unmask(*cut.words, "--quiet") == (0, "", "")
    assert cut.findings == part.findings
    assert len(RunFolder(cut.out).read("run.json")["damaged_records"]) == 5


@pytest.mark.usefixtures("quick_audits")
def test_in_a_library_a_record_damaged_while_the_run_is_on_is_its_own_error(
    tiny_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no failure of the measurement that happened to take it."""
    serve = local.serve

    def spoiling(*args: Any) -> Any:
        for path in (tmp_path / "records").glob("*/*.safetensors"):
            spoil(path, -1)
        return serve(*args)

    monkeypatch.setattr(local, "serve", spoiling)
    with pytest.raises(DamagedRecord):
        audit(
            Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)),
            tmp_path,
            tiny_pairs.settings(measurements=("structure",)),
        )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk takes the right to mount one (root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_exit_code_3_wherever_it_fills_up(part: Audit, tiny_pairs: Pairs, disk: Path) -> None:
    cut = some(tiny_pairs, disk / "run")
    cut.said = disk.with_suffix(".said")
    ballast = disk / "ballast"

    def attempt(free: int) -> str:
        """Leave so many bytes free and run; the name of the file that found no room."""
        shutil.rmtree(cut.out / "readings", ignore_errors=True)  # the next run would, and so make room
        (cut.out / "findings.json").unlink(missing_ok=True)
        ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))
        code = cut.run()
        ballast.unlink()
        assert code == 3, cut.said.read_text()
        sentence, _, command = cut.line.partition(" What is done is kept; to go on: ")
        words, _, path = sentence.removesuffix(". Make some.").partition(" no room for ")
        assert words == "unmask: the disk is full:"
        assert shlex.split(command) == ["unmask", *cut.words]
        assert not list(cut.out.rglob(".*.????????"))  # nothing half-written is left
        return Path(path).name

    def room(*patterns: str) -> int:
        """What these files of the run take, in pages."""
        files = [path for pattern in patterns for path in part.out.glob(pattern)]
        return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)

    answers, numbers, tables = room("records/*/*"), room("*.json", "domains/*/*"), room("readings/*/*")
    assert attempt(0) == ".holder.json"
    assert attempt(numbers + answers // 2).endswith(".safetensors")
    assert attempt(answers + numbers + tables + room("report.html") // 2) == "report.html"
    assert attempt(room("*.json") + tables // 2).endswith(".parquet")
    assert cut.run() == 0
    assert cut.findings == part.findings
