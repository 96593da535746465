"""The words that name a model, and the files they stand for.

`parse_reference` is about words alone; `resolve` finds the files (downloading from the hub or unpacking a demo
model where it must) and hashes what decides the model's outputs.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from unmask.models.demo import DEMO, SMOLLM2, TINY, demo_adapters, demo_folder
from unmask.models.errors import ModelError
from unmask.models.files.gguf import RECIPE, dequantise
from unmask.models.files.identity import combine, file_sha256, folder_identity
from unmask.models.files.places import Place, hub_place, local_place
from unmask.models.files.tokenizers import TokenizerPlace, tokenizer_place

Kind = Literal["hub", "local", "gguf", "demo"]

_HUB = re.compile(r"(?P<name>[\w.\-]+(?:/[\w.\-]+)?)(?:@(?P<revision>[^\s@+]+))?")
_FORMS = "org/name[@revision], ./folder, /folder, x.gguf, demo:NAME, each with +ADAPTER if wanted"


@dataclass(frozen=True)
class Reference:
    """A model as a user names it, and optionally weight noise on it.

    Attributes:
        kind: what `name` is.
        name: hub id, path as written, or demo name.
        revision: of a hub model; None is its default branch.
        adapters: PEFT adapters (hub ids or folders, as written) merged in this order.
        noise: sd of Gaussian noise on each weight matrix, as a share of the matrix's own sd; 0 is none.
        noise_seed: seed of that noise.
    """

    kind: Kind
    name: str
    revision: str | None = None
    adapters: tuple[str, ...] = ()
    noise: float = 0.0
    noise_seed: int = 0

    def with_noise(self, scale: float, seed: int = 0) -> Reference:
        """The same model with Gaussian noise of `scale` times each weight matrix's own sd."""
        if scale < 0:
            raise ValueError(f"The noise scale is {scale}; it must be 0 or more.")
        return replace(self, noise=scale, noise_seed=seed)

    @property
    def text(self) -> str:
        """The words that parse to this reference (noise has none)."""
        head = f"demo:{self.name}" if self.kind == "demo" else self.name
        revision = f"@{self.revision}" if self.revision else ""
        return "+".join((head + revision, *self.adapters))

    def __str__(self) -> str:
        if not self.noise:
            return self.text
        return f"{self.text} (weight noise {self.noise:g}, seed {self.noise_seed})"


def parse_reference(text: str) -> Reference:
    """Read a model reference; touches the disk only to see whether a path with a "+" in it exists.

    Raises:
        ModelError: the words fit none of the forms.
    """
    text = text.strip()
    head, *adapters = _parts(text)
    for adapter in adapters:
        if _kind(adapter) not in ("hub", "local"):
            raise ModelError(
                f"The adapter {adapter!r} in {text!r} is neither a folder nor a hub id; "
                "write REF+./folder or REF+org/name."
            )
    kind = _kind(head)
    if kind is None:
        raise ModelError(f"{text!r} is not a model reference; the forms are {_FORMS}.")
    if kind == "hub":
        match = _HUB.fullmatch(head)
        assert match is not None
        return Reference("hub", match["name"], match["revision"], tuple(adapters))
    name = head.removeprefix("demo:") if kind == "demo" else head
    return Reference(kind, name, None, tuple(adapters))


def _parts(text: str) -> list[str]:
    if "+" in text and _is_path(text) and Path(text).expanduser().exists():
        return [text]
    return text.split("+")


def _is_path(text: str) -> bool:
    return text in (".", "..", "~") or text.startswith(("./", "../", "/", "~/"))


def _kind(text: str) -> Kind | None:
    if text.startswith("demo:"):
        return "demo" if re.fullmatch(r"[\w.\-]+", text[5:]) else None
    if text.endswith(".gguf"):
        return "gguf"
    if _is_path(text):
        return "local"
    return "hub" if _HUB.fullmatch(text) else None


@dataclass(frozen=True)
class Resolved:
    """The files a reference stands for.

    Attributes:
        reference: what was resolved.
        folder: a transformers folder: the local one, the hub snapshot, or dequantised weights in the cache.
        revision: the hub commit; None for local files.
        adapters: adapter folders, merged in this order.
        identity: hex hash of everything that decides the model's outputs: weights, config, tokenizer, adapters, noise.
    """

    reference: Reference
    folder: Path
    revision: str | None
    adapters: tuple[Path, ...]
    identity: str

    @property
    def name(self) -> str:
        """The reference in words, with noise if there is any."""
        return str(self.reference)

    @property
    def tokenizer(self) -> TokenizerPlace:
        """Where the tokenizer and the chat template lie: in `folder`, or beside an adapter that brings others."""
        return tokenizer_place(self.folder, self.adapters)


def resolve(reference: str | Reference, *, allow_pickle: bool = False, weights: bool = True) -> Resolved:
    """Find a reference's files and hash them.

    Args:
        reference: words, or parsed.
        allow_pickle: take pickle weights.
        weights: False leaves a hub model's weights where they are; its config and tokenizer are enough to plan by.

    Raises:
        ModelError: nothing is there, the hub cannot be reached, or the weights come as pickle files only.
    """
    reference = parse_reference(reference) if isinstance(reference, str) else reference
    place = _place(reference, allow_pickle, weights)
    merged = [_adapter_place(adapter, allow_pickle) for adapter in reference.adapters]
    adapters = (*place.adapters, *(adapter.folder for adapter in merged))
    identity = place.identity
    if adapters:
        identity = combine("adapters", identity, *(folder_identity(folder) for folder in adapters))
    if tokenizer_place(place.folder, adapters) != TokenizerPlace(place.folder):
        identity = combine("an adapter's tokenizer", identity)
    if reference.noise:
        identity = combine("noise", identity, reference.noise, reference.noise_seed)
    return Resolved(reference, place.folder, place.revision, adapters, identity)


def _place(reference: Reference, allow_pickle: bool, weights: bool) -> Place:
    match reference.kind:
        case "local":
            return local_place(reference.name, allow_pickle)
        case "hub":
            return hub_place(reference.name, reference.revision, allow_pickle, weights=weights)
        case "gguf":
            return _gguf_place(reference.name)
        case "demo":
            return _demo_place(reference.name)


def _adapter_place(text: str, allow_pickle: bool) -> Place:
    adapter = parse_reference(text)
    if adapter.kind == "local":
        return local_place(adapter.name, allow_pickle, adapter=True)
    return hub_place(adapter.name, adapter.revision, allow_pickle, adapter=True)


def _gguf_place(name: str) -> Place:
    file = Path(name).expanduser().resolve()
    if not file.is_file():
        near = difflib.get_close_matches(file.name, [path.name for path in file.parent.glob("*.gguf")], n=1)
        hint = f"; did you mean {file.parent / near[0]}" if near else ""
        raise ModelError(f"The GGUF file {name} does not exist{hint}.")
    sha256 = file_sha256(file)
    return Place(dequantise(file, sha256), combine(RECIPE, sha256))


def _demo_place(name: str) -> Place:
    if name not in DEMO:
        near = difflib.get_close_matches(name, DEMO, n=1)
        hint = f"did you mean demo:{near[0]}? " if near else ""
        raise ModelError(f"There is no demo model {name!r}; {hint}They are {', '.join(DEMO)}.")
    model = DEMO[name]
    if model.whole is not None:
        return local_place(str(TINY / model.whole), allow_pickle=False)
    adapters = demo_adapters(model)
    return Place(demo_folder(), combine(RECIPE, SMOLLM2.sha256), adapters=adapters)
