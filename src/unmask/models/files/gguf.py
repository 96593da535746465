"""GGUF files become ordinary transformers folders in bf16, once, in the cache."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from filelock import FileLock

from unmask.models.cache import cache_dir
from unmask.models.errors import ModelError

RECIPE = "gguf-bf16-1"
"""What `_convert` does, as a name; it is part of the identity of every model that comes from GGUF."""


def dequantised_folder(sha256: str) -> Path:
    """Where the dequantised weights of the GGUF file with this hash are, or will be."""
    return cache_dir() / "gguf" / f"{sha256[:24]}-{RECIPE}"


def dequantise(file: Path, sha256: str) -> Path:
    """The dequantised folder of a GGUF file; made (15-50 s for 135M weights) if it is not there yet.

    Raises:
        ModelError: transformers cannot read this file.
    """
    return build_once(dequantised_folder(sha256), lambda folder: _convert(file, folder))


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Make a folder that is either whole or absent, whoever else makes it too and wherever a kill falls.

    Args:
        target: the folder to have in the end.
        build: fills the empty folder that it is given; the folder is renamed to `target` when it returns.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_dir():
            return target
        half = target.parent / f".{target.name}.half"
        shutil.rmtree(
            half, ignore_errors=True
        )  # what a killed process left; nobody else writes under the lock
        half.mkdir()
        try:
            build(half)
            os.rename(half, target)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return target


def _convert(file: Path, folder: Path) -> None:
    import torch
    import transformers

    # Newer releases keep GGUF weights packed unless told otherwise; older ones know no such setting.
    config_type: Any = getattr(transformers, "GgufConfig", None)
    unpack = {"quantization_config": config_type(dequantize=True)} if config_type else {}
    try:
        with quiet():
            model = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.bfloat16, **unpack
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # transformers and gguf raise many kinds on files they do not know
        raise ModelError(
            f"{file} could not be read as a GGUF language model ({type(error).__name__}: {error}); "
            "give one of an architecture that transformers dequantises."
        ) from error
    _split_digits(file, tokenizer)
    vars(model.config).pop("quantization_config", None)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _split_digits(file: Path, tokenizer: Any) -> None:
    """Give SmolLM tokenizers the digit splitting that they were trained with and transformers' reader leaves out."""
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(str(file)).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


@contextmanager
def quiet() -> Generator[None]:
    """No progress bars and no advice from transformers while this is open."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
