"""Where training stands, on disk: written whole, and refused where it is not what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unmask.features.errors import DictionaryError
from unmask.features.training.recipe import Recipe
from unmask.features.training.trainer import Trainer
from unmask.writing import replacing


@dataclass(frozen=True)
class Cursor:
    """How far the stream has been learnt from.

    Attributes:
        stream: its digest.
        passes: times that the whole of it was gone through.
        shards: shards of the pass under way that are done.
    """

    stream: str
    passes: int = 0
    shards: int = 0


def save_checkpoint(path: Path, trainer: Trainer, cursor: Cursor) -> None:
    """Write where training stands. Raises OSError where the disk is full; the older checkpoint is then still there."""
    state = {name: value.contiguous() for name, value in trainer.state().items()}
    said = {"recipe": asdict(trainer.recipe), "cursor": asdict(cursor), "sha256": _checksum(state)}
    with replacing(path) as partial:
        save_file(state, partial, {name: json.dumps(value) for name, value in said.items()})


def load_checkpoint(path: Path, recipe: Recipe, stream: str) -> tuple[Trainer, Cursor] | None:
    """The trainer and where it stopped; None where there is no checkpoint.

    Raises:
        DictionaryError: it is damaged, or of another recipe or stream.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            said: Mapping[str, Any] = {key: json.loads(value) for key, value in file.metadata().items()}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safetensors' file is no mapping: it has keys() and no iterator)
        cursor, trained = Cursor(**said["cursor"]), dict(said["recipe"])
        if said["sha256"] != _checksum(state):
            raise ValueError("its bytes have changed")
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise DictionaryError(
            f"the checkpoint {path} is damaged; remove it to train from the start."
        ) from error
    changed = [name for name, value in asdict(recipe).items() if trained.get(name) != value]
    if cursor.stream != stream and not changed:
        changed.append("the models, the layer, the window or the corpus")
    if changed:
        raise DictionaryError(
            f"the folder {path.parent} holds training that was begun otherwise ({', '.join(changed)}); "
            "go on with the same words, or choose another folder."
        )
    return Trainer.restored(recipe, state), cursor


def _checksum(state: Mapping[str, Tensor]) -> str:
    hasher = hashlib.sha256()
    for name, value in sorted(state.items()):
        hasher.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        hasher.update(value.numpy().tobytes())
    return hasher.hexdigest()
