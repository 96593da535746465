"""A reference opens what it names, or says what was looked for where."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.errors import DictionaryError
from unmask.features.formats import open_dictionary, releases, write_saelens
from unmask.features.formats.releases import split

from .seen import SAELENS, SPARSIFY, assert_does, drawn, seen_in

KNOWN = ("gpt2-small-res-jb", "llama_scope_lxr_8x")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("folder", [SAELENS / "topk_rescaled", SPARSIFY / "layers.3"])
def test_the_format_is_told_from_the_files(folder: Path) -> None:
    assert_does(open_dictionary(str(folder)), seen_in(folder))


def test_home_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_saelens(drawn(), tmp_path / "mine")
    assert open_dictionary("~/mine").facts == drawn().facts


def test_where_nothing_is_the_sentence_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="does not exist") as caught:
        open_dictionary(str(tmp_path / "none"))
    assert str(tmp_path / "none") in str(caught.value)
    assert "sae_weights.safetensors (SAELens) or sae.safetensors (sparsify)" in str(caught.value)
    with pytest.raises(DictionaryError, match="is a file"):
        open_dictionary(str(SPARSIFY / "config.json"))
    with pytest.raises(DictionaryError, match="holds no dictionary"):
        open_dictionary(str(tmp_path))


def test_a_run_of_many_layers_says_which(tmp_path: Path) -> None:
    for name in ("layers.4", "layers.3"):
        shutil.copytree(SPARSIFY / "layers.3", tmp_path / name)
    with pytest.raises(DictionaryError, match=r"give .*layers\.3"):
        open_dictionary(str(tmp_path))


def test_a_release_is_converted_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def from_release(name: str) -> SparseAutoencoder:
        asked.append(name)
        return drawn("jumprelu")

    monkeypatch.setattr(releases, "from_release", from_release)
    for _ in range(2):
        assert open_dictionary("saelens:some/ID").facts == drawn().facts
    open_dictionary("saelens:some/OTHER")
    assert asked == ["some/ID", "some/OTHER"]
    assert len([path for path in (cache / "dictionaries").iterdir() if path.is_dir()]) == 2


def test_a_release_that_fails_leaves_nothing_in_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(name: str) -> SparseAutoencoder:
        raise DictionaryError("no.")

    monkeypatch.setattr(releases, "from_release", fails)
    with pytest.raises(DictionaryError):
        open_dictionary("saelens:some/ID")
    assert not any(path.is_dir() for path in (cache / "dictionaries").iterdir())


def test_without_saelens_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(DictionaryError, match=r"pip install 'unmask\[saelens\]'") as caught:
        open_dictionary("saelens:gpt2-small-res-jb/blocks.8.hook_resid_pre")
    assert "\n" not in str(caught.value)


def test_a_release_goes_before_a_repository() -> None:
    assert split("gpt2-small-res-jb/blocks.8.hook_resid_pre", KNOWN) == (
        "gpt2-small-res-jb",
        "blocks.8.hook_resid_pre",
    )
    assert split("llama_scope_lxr_8x/l/0/r", KNOWN) == ("llama_scope_lxr_8x", "l/0/r")
    assert split("somebody/saes/layer_3/width_16k", KNOWN) == ("somebody/saes", "layer_3/width_16k")
    for short in ("gpt2-small-res-jb", "gpt2-small-res-jb/", "somebody/saes", "somebody/saes/"):
        with pytest.raises(DictionaryError, match="RELEASE/ID was expected"):
            split(short, KNOWN)
    with pytest.raises(DictionaryError, match="nearest release is gpt2-small-res-jb"):
        split("gpt2-smal-res-jb/blocks", KNOWN)
