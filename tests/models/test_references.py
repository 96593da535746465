"""The words that name models, read and written back; what cannot be found says so."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.models import DEMO, ModelError, Reference, parse_reference, resolve
from unmask.models.demo import demo_adapters
from unmask.models.files.identity import combine, folder_identity
from unmask.models.files.tokenizers import TokenizerPlace, tokenizer_place

Tiny = Callable[[str], Path]

WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,12}", fullmatch=True).filter(
    lambda w: not w.endswith(".gguf")
)
HUB = st.builds("{}/{}".format, WORD, WORD)
FOLDER = st.builds("{}{}".format, st.sampled_from(["./", "../", "/", "~/", "./a b/"]), WORD)
ADAPTERS = st.lists(st.one_of(HUB, FOLDER), max_size=3).map(tuple)
REFERENCES = st.one_of(
    st.builds(Reference, st.just("hub"), HUB, st.none() | WORD, ADAPTERS),
    st.builds(Reference, st.just("local"), FOLDER, st.none(), ADAPTERS),
    st.builds(Reference, st.just("gguf"), WORD.map("{}.gguf".format), st.none(), ADAPTERS),
    st.builds(Reference, st.just("demo"), st.sampled_from(sorted(DEMO)), st.none(), ADAPTERS),
)


@given(REFERENCES)
def test_words_and_references_are_two_sides(reference: Reference) -> None:
    assert parse_reference(reference.text) == reference


@given(st.text(max_size=40))
def test_any_words_are_read_or_refused_in_a_sentence(text: str) -> None:
    try:
        found = parse_reference(text)
    except ModelError as error:
        refusal = str(error)
    else:
        assert found.text == text.strip()
        return
    assert "the forms are" in refusal or "neither a folder nor a hub id" in refusal


def test_forms() -> None:
    assert parse_reference("org/name@abc123") == Reference("hub", "org/name", "abc123")
    assert parse_reference("gpt2").kind == "hub"
    assert parse_reference("models/x.gguf").kind == "gguf"
    assert parse_reference("demo:base+./mine+org/theirs@v2").adapters == ("./mine", "org/theirs@v2")
    for bad in ("", "a/b/c", "demo:", "org/name@", "+./x", "two words"):
        with pytest.raises(ModelError, match="the forms are"):
            parse_reference(bad)
    for bad in ("org/name+", "org/name+demo:base", "org/name+x.gguf"):
        with pytest.raises(ModelError, match="neither a folder nor a hub id"):
            parse_reference(bad)


def test_a_folder_with_a_plus_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "a+b"
    folder.mkdir()
    assert parse_reference(str(folder)) == Reference("local", str(folder))


def test_noise_is_said_and_is_in_the_identity(tiny: Tiny) -> None:
    plain = parse_reference(str(tiny("llama")))
    noisy = plain.with_noise(0.05, 3)
    assert noisy.text == plain.text
    assert str(noisy) == f"{plain.text} (weight noise 0.05, seed 3)"
    identities = {
        resolve(r).identity for r in (plain, noisy, plain.with_noise(0.05, 4), plain.with_noise(0.1, 3))
    }
    assert len(identities) == 4
    assert resolve(plain.with_noise(0.0, 9)).identity == resolve(plain).identity
    with pytest.raises(ValueError, match="noise scale"):
        plain.with_noise(-1)


def test_identity_is_the_content_and_not_the_place(tiny: Tiny, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny("llama"), copy)
    (copy / "README.md").write_text("prose")
    (copy / "trainer_state.json").write_text("{}")
    original = resolve(str(tiny("llama"))).identity
    assert resolve(str(copy)).identity == original
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    changed = resolve(str(copy)).identity
    assert changed != original
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert resolve(str(copy)).identity not in (original, changed)


def test_identity_covers_the_tokenizer_that_is_used(tiny: Tiny, tmp_path: Path) -> None:
    base, adapter = tiny("llama"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    reference = f"{base}+{adapter}"

    def merged() -> str:
        return combine("adapters", folder_identity(base), folder_identity(adapter))

    assert resolve(reference).identity == merged()
    for copied in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / copied, adapter)
    assert resolve(reference).identity == merged(), "copies of the base's files change nothing"
    assert resolve(reference).tokenizer.folder == base
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    assert resolve(reference).tokenizer.folder == adapter
    assert resolve(reference).identity == combine("an adapter's tokenizer", merged())
    (adapter / "tokenizer.json").unlink()  # settings without a vocabulary are no tokenizer
    assert resolve(reference).tokenizer.folder == base
    assert resolve(reference).identity == combine("an adapter's tokenizer", merged())


def test_a_tekken_tokenizer_is_in_the_identity(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    identities = {resolve(str(tmp_path)).identity}
    for text in ("{}", '{"vocab": []}'):
        (tmp_path / "tekken.json").write_text(text)
        identities.add(resolve(str(tmp_path)).identity)
    assert len(identities) == 3


def test_the_demo_adapters_bring_no_tokenizer(tmp_path: Path) -> None:
    for model in DEMO.values():
        assert tokenizer_place(tmp_path, demo_adapters(model)) == TokenizerPlace(tmp_path)


def test_what_is_not_there_says_where_it_was_looked_for(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "llama-final").mkdir()
    with pytest.raises(ModelError, match=r"does not exist.*nearest name there is .*llama-final"):
        resolve(str(tmp_path / "llama-finl"))
    with pytest.raises(ModelError, match=r"a file config.json was expected"):
        resolve(str(tmp_path / "llama-final"))
    with pytest.raises(ModelError, match="does not exist either"):
        resolve(str(tmp_path / "no" / "where"))
    with pytest.raises(
        ModelError, match=r"no demo model 'maskd'; did you mean demo:masked\? They are smollm2, base"
    ):
        resolve("demo:maskd")
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"does not exist; did you mean .*small.gguf"):
        resolve(str(tmp_path / "smal.gguf"))
    with pytest.raises(ModelError, match=r"holds no adapter: a file adapter_config.json"):
        resolve(f"{tiny('llama')}+{tiny('gpt2')}")


def test_an_adapter_alone_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(ModelError, match=r"is an adapter and not a whole model; write org/base\+"):
        resolve(str(tmp_path))


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no weights"):
        resolve(str(tmp_path))


def test_pickle_is_refused_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match=r"pickle files only \(pytorch_model.bin\).*allow_pickle=True"):
        resolve(str(tmp_path))
    assert resolve(str(tmp_path), allow_pickle=True).folder == tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> Path:
    """huggingface_hub's own cache with one model in it, and no network."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--org--tiny"
    shutil.copytree(tiny("llama"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository


def test_a_hub_model_comes_from_the_hubs_cache(hub: Path) -> None:
    found = resolve("org/tiny")
    assert found.revision == "0123456789abcdef0123456789abcdef01234567"
    assert found.folder == hub / "snapshots" / found.revision
    assert resolve(f"org/tiny@{found.revision}").identity == found.identity


def test_a_hub_model_is_planned_by_without_its_weights(hub: Path) -> None:
    for file in hub.rglob("*.safetensors"):
        file.unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        resolve("org/tiny")
    found = resolve("org/tiny", weights=False)
    assert (found.folder / "config.json").is_file()
    assert (found.folder / "tokenizer.json").is_file()


def test_a_hub_model_out_of_reach(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"org/absent is not in the local hub cache .*HF_HUB_OFFLINE"):
        resolve("org/absent")
    monkeypatch.chdir(hub.parent)
    (hub.parent / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"write \./runs/mine"):
        resolve("runs/mine")


def _answered(status: int) -> Exception:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    error = HfHubHTTPError("no", response=SimpleNamespace(status_code=status, headers={}, request=None))  # pyright: ignore[reportArgumentType]  # a made-up answer
    wrapped = LocalEntryNotFoundError("not cached")
    wrapped.__cause__ = error
    return error if status == 401 else wrapped


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (_answered(401), r"hub refuses access to org/x \(HTTP 401\); log in"),
        (_answered(403), r"hub refuses access to org/x \(HTTP 403\); log in"),
        (_answered(500), r"hub answered with HTTP 500 when asked for org/x; try again later"),
        (OSError(errno.ENOSPC, "No space left on device"), r"disk is full: .* org/x does not fit into"),
        (PermissionError(errno.EACCES, "denied", "/hub/x"), r"may not write /hub/x, where .* org/x would be"),
        (OSError("odd"), r"org/x could not be downloaded \(OSError: odd\)"),
        (ConnectionError("down"), r"org/x is not in the local hub cache and the hub cannot be reached"),
    ],
    ids=str,
)
def test_what_kept_a_hub_model_away_is_said(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ModelError, match=sentence) as refused:
        resolve("org/x")
    assert ("cannot be reached" in str(refused.value)) == isinstance(error, ConnectionError)
