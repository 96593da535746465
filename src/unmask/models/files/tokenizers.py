"""Where a model's tokenizer and chat template lie: in its own folder, or beside an adapter that brings others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.models.files.identity import file_sha256, tokenizer_files

VOCABULARIES = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "*.tiktoken", "tekken.json")
_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class TokenizerPlace:
    """Where a tokenizer lies.

    Attributes:
        folder: holds its files.
        template: a chat template that replaces the tokenizer's own; None keeps that.
    """

    folder: Path
    template: Path | None = None


def tokenizer_place(folder: Path, adapters: Sequence[Path]) -> TokenizerPlace:
    """The tokenizer of a model with adapters: the last one saved beside an adapter, else the model's own.

    A chat template alone beside a later adapter replaces that tokenizer's. Copies of the model's own files count as
    the model's own.
    """
    folders = [folder, *adapters]
    last = max((i for i, place in enumerate(folders) if _holds_tokenizer(place)), default=0)
    templates = [place / _TEMPLATE for place in folders[last + 1 :] if (place / _TEMPLATE).is_file()]
    if last == 0 and not templates:
        return TokenizerPlace(folder)
    own = _contents(folder).items()
    holder = folder if _contents(folders[last]).items() <= own else folders[last]
    template = templates[-1] if templates else None
    if template and holder == folder and (template.name, file_sha256(template)) in own:
        template = None
    return TokenizerPlace(holder, template)


def _holds_tokenizer(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in VOCABULARIES)


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in tokenizer_files(folder)}
