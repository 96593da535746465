"""What every format needs of a folder: its JSON and its tensors, checked, or one sentence that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unmask.features.errors import DictionaryError
from unmask.writing import replacing, write_atomically

CONFIG = "cfg.json"
"""The description's name, in SAELens' folders and in sparsify's."""


@contextmanager
def said_of(what: str) -> Generator[None]:
    """Puts in front of a DictionaryError what it is about, such as a folder."""
    try:
        yield
    except DictionaryError as error:
        raise DictionaryError(f"{what} cannot be used: {error}") from error


def write_dictionary(
    folder: Path, weights: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    """Store a dictionary; what was in the folder is replaced.

    The description comes last, so a folder that has one is whole.

    Raises:
        DictionaryError: the description is not JSON.
        OSError: the folder or a file cannot be written.
    """
    try:
        text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DictionaryError(f"The facts about {folder} cannot be stored as JSON ({error}).") from error
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # a kill must not leave it beside other weights
    with replacing(folder / weights) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
        partial.chmod(0o644)  # it is written for its owner alone
    write_atomically(folder / CONFIG, text + "\n")


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DictionaryError: no such file, or something else in it.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DictionaryError(
            f"its {path.name} is missing; copy the whole folder that it was saved as."
        ) from error
    except (OSError, ValueError) as error:
        raise DictionaryError(f"its {path.name} is not readable JSON ({error}); save it again.") from error
    if not isinstance(config, dict):
        raise DictionaryError(f"its {path.name} holds no JSON object; save it again.")
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file's tensors by name, on the CPU.

    Raises:
        DictionaryError: no such file, or a damaged one.
    """
    if not path.is_file():
        raise DictionaryError(f"its {path.name} is missing; copy the whole folder that it was saved as.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DictionaryError(f"its {path.name} is damaged ({error}); copy or save it again.") from error


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """A value that the description must hold.

    Raises:
        DictionaryError: it does not.
    """
    if key not in config:
        raise DictionaryError(f'its {CONFIG} says no "{key}"; add it as it was trained.')
    return config[key]


def count_of(config: Mapping[str, Any], key: str) -> int:
    """A count of 1 or more that the description must hold.

    Raises:
        DictionaryError: it does not.
    """
    count = value_of(config, key)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise DictionaryError(
            f'its {CONFIG} says "{key}": {count!r}, and a whole number above 0 was expected.'
        )
    return count


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Whether these tensors are there, of these shapes, and no others.

    Raises:
        DictionaryError: one is missing, of another shape, or of another kind of autoencoder.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise DictionaryError(f"its tensor {name} is missing; {', '.join(shapes)} were expected.")
        if tuple(tensors[name].shape) != shape:
            raise DictionaryError(
                f"its tensor {name} is {list(tensors[name].shape)}, and by its {CONFIG} it must be {list(shape)}."
            )
    others = sorted(tensors.keys() - shapes.keys())
    if others:
        raise DictionaryError(
            f"it has tensors that its kind has no use for ({', '.join(others)}), so it is of another kind than its "
            f"{CONFIG} says; save it again."
        )
