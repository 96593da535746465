"""Hashes that say whether two models are the same, whatever their files are called or where they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from unmask.models.cache import cache_dir
from unmask.writing import write_atomically

_TOKENIZER = (
    "*token*.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "tekken.json",
    "chat_template*",
)
# What transformers reads when it loads a model; training leftovers (optimizer, trainer state) and prose are not in it.
_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    *_TOKENIZER,
    "*.py",
)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex; remembered in the cache by path, size and modification time."""
    stat = path.stat()
    where = str(path.resolve())
    key = [where, stat.st_size, stat.st_mtime_ns]
    note = cache_dir() / "hashes" / f"{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"
    try:
        known = json.loads(note.read_text())
        if known["key"] == key:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note yet, or a damaged one: hash again
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, json.dumps({"key": key, "sha256": digest}))
    return digest


def model_files(folder: Path) -> list[Path]:
    """The files in a folder that decide what a model or an adapter does, by name."""
    return _matching(folder, _PATTERNS)


def tokenizer_files(folder: Path) -> list[Path]:
    """Those of them that decide what text becomes of a talk and which tokens of a text, by name."""
    return _matching(folder, _TOKENIZER)


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def folder_identity(folder: Path) -> str:
    """Hash of a folder's weights, config and tokenizer files, in hex; the folder's own name is not in it."""
    return combine(
        "folder", *(part for path in model_files(folder) for part in (path.name, file_sha256(path)))
    )


def combine(*parts: str | float | Iterable[str]) -> str:
    """One hex hash of several parts, in order."""
    plain = [part if isinstance(part, str | int | float) else list(part) for part in parts]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()
