"""Local folders and hub snapshots: finding them, refusing the unsafe ones, and saying what is wrong with them."""

from __future__ import annotations

import difflib
import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.models.errors import ModelError
from unmask.models.files.identity import combine, folder_identity

_WEIGHTS = "*.safetensors"
_WANTED = [_WEIGHTS, "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.py"]
_ADAPTER = "adapter_model.safetensors"
_UNWANTED = ["*/*", "consolidated*", "training_args*"]


@dataclass(frozen=True)
class Place:
    """Where a model or an adapter lies.

    Attributes:
        folder: a folder that transformers or PEFT can load.
        identity: hash of what decides the outputs.
        revision: the hub commit, None for local files.
        adapters: adapters that belong to the model itself, merged before any that the user names.
    """

    folder: Path
    identity: str
    revision: str | None = None
    adapters: tuple[Path, ...] = ()


def local_place(name: str, allow_pickle: bool, adapter: bool = False) -> Place:
    """A local folder.

    Raises:
        ModelError: no such folder, no model or adapter in it, or only pickle weights.
    """
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise ModelError(f"The folder {name} {kind}; a transformers folder was expected{_nearest(folder)}.")
    check_folder(name, folder, allow_pickle, adapter)
    return Place(folder, folder_identity(folder))


def hub_place(
    name: str, revision: str | None, allow_pickle: bool, adapter: bool = False, weights: bool = True
) -> Place:
    """A hub model's snapshot, downloaded or from huggingface_hub's own cache; without `weights`, all else of it.

    Raises:
        ModelError: no such model or revision, no access, no network, no room on the disk, or only pickle weights.
    """
    if not weights:
        folder = _snapshot(name, revision, [pattern for pattern in _WANTED if pattern != _WEIGHTS])
        return Place(folder, combine("hub, without weights", folder.name), folder.name)
    folder = _snapshot(name, revision, _WANTED)
    if allow_pickle and not _safe(folder, adapter):
        folder = _snapshot(name, revision, [*_WANTED, "*.bin"])
    check_folder(name, folder, allow_pickle, adapter)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    return Place(folder, combine("hub", folder.name, files), folder.name)


def check_folder(name: str, folder: Path, allow_pickle: bool, adapter: bool) -> None:
    """Raise a ModelError unless the folder holds a model (or an adapter) in a safe format."""
    what, config = ("adapter", "adapter_config.json") if adapter else ("model", "config.json")
    if not (folder / config).is_file():
        if not adapter and (folder / "adapter_config.json").is_file():
            base = adapter_config(folder).get("base_model_name_or_path") or "BASE"
            raise ModelError(f"{name} is an adapter and not a whole model; write {base}+{name}.")
        raise ModelError(f"{name} holds no {what}: a file {config} was expected in {folder}.")
    if _safe(folder, adapter):
        return
    patterns = ("adapter_model.bin",) if adapter else ("*.bin", "*.pt", "*.pth")
    pickles = sorted(path.name for pattern in patterns for path in folder.glob(pattern))
    if pickles and not allow_pickle:
        raise ModelError(
            f"{name} holds its weights as pickle files only ({pickles[0]}), which can run any code when they are "
            "opened; convert them to safetensors, or pass allow_pickle=True (--allow-pickle) if you trust them."
        )
    if not pickles:
        raise ModelError(
            f"{name} holds no weights: {_ADAPTER if adapter else 'a *.safetensors file'} was expected in {folder} "
            "(pickle files on the hub are fetched only with allow_pickle=True)."
        )


def _safe(folder: Path, adapter: bool) -> bool:
    """Whether the weights that would be loaded are safetensors; PEFT takes adapter_model.bin where its own lack."""
    return (folder / _ADAPTER).is_file() if adapter else any(folder.glob("*.safetensors"))


def adapter_config(folder: Path) -> dict[str, Any]:
    """A PEFT adapter's configuration. Raises ModelError where it is not JSON."""
    path = folder / "adapter_config.json"
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); save the adapter again.") from error


def _nearest(folder: Path) -> str:
    """A hint at sibling folders with a similar name, or at the part of the path that exists."""
    parent = folder.parent
    if not parent.is_dir():
        return f", and {parent} does not exist either"
    siblings = [path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    close = difflib.get_close_matches(folder.name, siblings, n=1)
    if close:
        return f"; the nearest name there is {parent / close[0]}"
    return f", and nothing in {parent} has a similar name"


def _snapshot(name: str, revision: str | None, wanted: list[str]) -> Path:
    from huggingface_hub import errors, snapshot_download

    at = f"{name}@{revision}" if revision else name
    try:
        path = snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=_UNWANTED)
    except errors.GatedRepoError as error:
        raise ModelError(
            f"The hub model {at} is gated; ask for access on its page and log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"The hub model {name} has no revision {revision!r}; give a branch, tag or commit."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"The hub has no model {at} that you can see{_local_hint(name)}.") from error
    except errors.HFValidationError as error:
        raise ModelError(f"{at} is not a hub model's name ({error}){_local_hint(name)}.") from error
    except Exception as error:  # huggingface_hub, its http client and the disk raise many kinds here
        raise ModelError(f"{_download_failure(at, error)}{_local_hint(name)}.") from error
    return Path(path)


def _download_failure(at: str, error: Exception) -> str:
    """What kept a hub model from being downloaded, as a sentence without its full stop."""
    from huggingface_hub import constants, errors

    missing = isinstance(error, errors.LocalEntryNotFoundError)
    cause = (error.__cause__ if missing else None) or error  # it wraps what the hub or the network said
    if isinstance(cause, errors.HfHubHTTPError):
        status = cause.response.status_code
        if status in (401, 403):
            return (
                f"The hub refuses access to {at} (HTTP {status}); log in with `hf auth login` as someone who may "
                "read it, or give a local folder"
            )
        return f"The hub answered with HTTP {status} when asked for {at}; try again later, or give a local folder"
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: the hub model {at} does not fit into {constants.HF_HUB_CACHE}; free some space, or "
            "set HF_HOME to a folder on another disk"
        )
    if isinstance(cause, PermissionError):
        return (
            f"You may not write {cause.filename or constants.HF_HUB_CACHE}, where the hub model {at} would be kept; "
            "change its permissions, or set HF_HOME to a folder of your own"
        )
    unreachable = isinstance(cause, errors.LocalEntryNotFoundError | ConnectionError | TimeoutError)
    if unreachable or (missing and not isinstance(cause, OSError)):
        return (
            f"The hub model {at} is not in the local hub cache and the hub cannot be reached "
            "(offline, or HF_HUB_OFFLINE is set); connect once, or give a local folder"
        )
    first = (str(cause).strip().splitlines() or ["no reason given"])[0]
    return (
        f"The hub model {at} could not be downloaded ({type(cause).__name__}: {first}); try again, or give a local "
        "folder"
    )


def _local_hint(name: str) -> str:
    """A hint where a folder of that name lies right here."""
    return f"; there is a folder of that name here: write ./{name} for it" if Path(name).is_dir() else ""
