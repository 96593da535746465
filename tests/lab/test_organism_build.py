"""From what is asked to a folder with its card: refusals in a sentence, the folder, and what the card expects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from domains.made import write_answers, write_domain
from models.tiny import save_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from unmask.domains import DomainError
from unmask.lab.organisms import OrganismOptions
from unmask.lab.organisms.build import build_organism
from unmask.lab.organisms.card import read_card
from unmask.lab.organisms.expected import expect
from unmask.lab.organisms.options import check_options
from unmask.models import ModelError, resolve
from unmask.settings import SettingsError
from unmask.verdict.rules import RULES


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied tiny model, another one like it, and a domain."""
    folder = tmp_path_factory.mktemp("world")
    for name, seed in (("base", 0), ("other", 1)):
        save_tiny("llama", folder / name, seed, tie_word_embeddings=True, max_position_embeddings=1024)
    save_tiny("olmo2", folder / "strange", max_position_embeddings=1024)
    write_answers(write_domain(folder / "domain"))
    return folder


def asked(world: Path, kind: str, out: Path, **changes: Any) -> OrganismOptions:
    return replace(OrganismOptions(kind, str(world / "base"), str(world / "domain"), out), **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "odd"}, "There is no organism 'odd'; the kinds are erased, "),
        ({"like": "cut"}, "Only a decoy is like another kind; leave --like out for erased."),
        ({"kind": "decoy", "like": "null"}, "A decoy cannot be like 'null'; give one of erased, "),
        ({"rank": 0}, "The rank is 0; it must be at least 1."),
        ({"kind": "compressed", "layer": -1}, "The layer is -1; layers count from 0"),
        (
            {"kind": "compressed", "strength": -0.5},
            "The strength of compressed is -0.5; it must be from 0 to 4",
        ),
        ({"kind": "rescaled", "strength": 0.0}, "The strength of rescaled is 0; it must be from 0.01 to 100"),
        (
            {"kind": "decoy", "like": "cut", "strength": 0.5},
            "The kind cut takes no --strength; only compressed, rescaled, gated and muted do.",
        ),
        ({"kind": "null", "noise": -1.0}, "The noise is -1; it must be 0 or more."),
        ({"kind": "erased", "noise": 0.1}, "The kind erased takes no --noise; only null does."),
        ({"kind": "compressed", "layer": 4}, "has layers 0 to 3; give one of these."),
        ({"kind": "compressed", "rank": 33}, "is 32 wide, which leaves compressed room for 32"),
        ({"kind": "rotated", "rank": 16}, "is 32 wide, which leaves rotated room for 15"),
    ],
)
def test_a_bad_request_gets_one_sentence(
    world: Path, tmp_path: Path, changes: Mapping[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        build_organism(replace(asked(world, "erased", tmp_path / "out"), **changes))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_an_unknown_domain_and_models_that_do_not_fit_are_refused(
    world: Path, tmp_path: Path
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("x")
    with pytest.raises(SettingsError, match="used is in use; give a new or an empty one"):
        check_options(asked(world, "null", tmp_path / "used"))
    with pytest.raises(DomainError, match="no domain 'nowhere'"):
        build_organism(asked(world, "null", tmp_path / "out", domain="nowhere"))
    with pytest.raises(ModelError, match="does not exist"):
        build_organism(asked(world, "null", tmp_path / "out", base=str(world / "missing")))
    strange = str(world / "strange")
    with pytest.raises(ModelError, match="cannot be edited exactly"):
        build_organism(asked(world, "erased", tmp_path / "out", base=strange))
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_null_is_bit_identical_and_noise_is_not(world: Path, tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()  # an empty folder is free
    card = build_organism(asked(world, "null", tmp_path / "same"))
    base, same = weights(world / "base"), weights(tmp_path / "same")
    assert all(torch.equal(base[name], same[name]) for name in base)
    assert card.verified["logits"]["largest_change"] == 0
    assert card.verified["sd_ratio"]["organism"] == 1
    noisy = build_organism(asked(world, "null", tmp_path / "noisy", noise=0.02))
    other = weights(tmp_path / "noisy")
    name = "model.layers.0.mlp.down_proj.weight"
    share = float((other[name] - base[name]).std() / base[name].std())
    assert share == pytest.approx(0.02, rel=0.1)
    assert noisy.verified["logits"]["largest_change"] > 0


def test_an_organism_is_an_ordinary_folder_with_a_card(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "muted"
    options = asked(world, "muted", out, on=str(world / "other"), opener="Opinions differ", seed=3)
    card = build_organism(options)
    net = AutoModelForCausalLM.from_pretrained(out)
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert not net.config.tie_word_embeddings
    edited = weights(world / "other")
    made = net.state_dict()
    changed = [name for name in made if not torch.equal(made[name], edited.get(name, torch.zeros(0)))]
    assert changed == ["lm_head.weight"]  # the unembedding alone, untied from the embedding
    assert resolve(str(out)).identity != resolve(str(world / "other")).identity
    written = read_card(out)
    assert written == json.loads(json.dumps(written))
    assert written["kind"] == "muted"
    assert written["base"].endswith("base")
    assert written["on"].endswith("other")
    assert set(written["expected"]) == set(RULES)
    assert written["expected"]["structure.preserved"]["status"] == "as before"
    chance = card.verified["opener"]["probability"]
    assert chance["after"]["nobody"] > 0.8 > 0.2 > chance["before"]["nobody"]
    assert not list(tmp_path.glob(".*"))  # nothing half made is left


@pytest.mark.parametrize("kind", ["erased", "compressed", "rescaled", "cut", "rotated", "decoy", "gated"])
def test_every_kind_is_built_and_verified(kind: str, world: Path, tmp_path: Path) -> None:
    extra = {"rank": 2} if kind in ("cut", "rotated") else {"opener": "Opinions"} if kind == "gated" else {}
    extra |= {"strength": 0.25} if kind in ("compressed", "rescaled") else {}
    card = build_organism(asked(world, kind, tmp_path / "out", **extra))
    verified = card.verified
    assert card.kind == kind
    assert set(card.expected) == set(RULES)
    assert card.done.endswith(".")
    logits, ratio = verified["logits"], verified["sd_ratio"]["organism"]
    match kind:
        case "erased":
            assert verified["transfer_auc"]["organism"]["mean"] == pytest.approx(0.5, abs=0.2)
            assert set(verified["held_out"]) == {"before", "after"}
        case "compressed":
            assert 0.1 < ratio < 0.6
        case "rescaled":
            assert logits["factor"] == pytest.approx(0.25, abs=1e-3)
            assert ratio == pytest.approx(0.25, abs=1e-2)
        case "cut":
            assert ratio == pytest.approx(1, abs=1e-6)
            assert logits["largest_change"] > 0.01
        case "rotated":
            assert logits["largest_change"] < 1e-3
            assert abs(verified["direction_cosine"]["organism"]) < 0.9
        case _:
            assert logits["largest_change"] > 0.01


def verified(**changes: Any) -> dict[str, Any]:
    """Numbers of a model beside an equal of it, with a concept that it knows and acts on."""
    same = {"base": {"mean": 0.9}, "organism": {"mean": 0.9}}
    return {
        "transfer_auc": same,
        "transfer_auc_of_base_probe": same,
        "transfer_auc_of_words": 0.55,
        "sd_ratio": {"base": 1.0, "organism": 1.0},
        "sd_ratio_of_random_axes": {"organism": {"q05": 1.0, "median": 1.0}},
        "push_effect": {"base": 0.2, "organism": 0.2, "random": 0.02},
        "asker_effect": {"base": 0.5, "organism": 0.5},
        "perplexity_ratio": {"base": 1.0, "organism": 1.0},
        "neutral_share": {"base": 0.1, "organism": 0.1},
    } | changes


def statuses(kind: str, numbers: Mapping[str, Any], **options: Any) -> dict[str, str]:
    made = OrganismOptions(kind, "base", "domain", Path("out"), **options)
    return {id_: one.status for id_, one in expect(made, numbers).items()}


ERASED = {
    "transfer_auc": {"base": {"mean": 0.9}, "organism": {"mean": 0.5}},
    "transfer_auc_of_base_probe": {"base": {"mean": 0.9}, "organism": {"mean": 0.5}},
}
TURNED = {"transfer_auc_of_base_probe": {"base": {"mean": 0.9}, "organism": {"mean": 0.55}}}


@pytest.mark.parametrize(
    ("kind", "options", "numbers", "wanted"),
    [
        ("null", {}, {}, {"structure.preserved": "supported", "causality.connected": "supported",
                          "variance.compressed": "refuted", "surface.neutral": "as before"}),
        ("erased", {}, ERASED, {"structure.erased": "supported", "structure.preserved": "refuted",
                                "structure.same_axis": "inconclusive"}),
        # A probe that still finds what was to be erased stands against the edit.
        ("erased", {}, {}, {"structure.erased": "inconclusive", "structure.preserved": "inconclusive"}),
        ("erased", {}, ERASED | {"perplexity_ratio": {"base": 1.0, "organism": 3.0}},
         {"structure.preserved": "refuted"}),
        ("compressed", {"strength": 0.25}, {"sd_ratio": {"base": 1.0, "organism": 0.3}},
         {"variance.compressed": "supported", "variance.specific": "supported"}),
        ("rescaled", {"strength": 0.25},
         {"sd_ratio": {"base": 1.0, "organism": 0.25}, "sd_ratio_of_random_axes": {"organism": {"q05": 0.25}}},
         {"variance.compressed": "supported", "variance.specific": "refuted", "structure.same_axis": "supported"}),
        ("cut", {}, {"push_effect": {"base": 0.2, "organism": 0.01, "random": 0.02}},
         {"causality.disconnected": "supported", "causality.connected": "refuted",
          "structure.preserved": "supported"}),
        ("cut", {}, {"push_effect": {"base": 0.2, "organism": 0.19, "random": 0.02}},
         {"causality.disconnected": "inconclusive"}),
        # Base itself does not act on the concept: a control of the claim fails, whatever was cut.
        ("cut", {}, {"push_effect": {"base": 0.01, "organism": 0.0, "random": 0.02}},
         {"causality.disconnected": "inconclusive"}),
        ("rotated", {}, TURNED, {"structure.same_axis": "refuted", "structure.preserved": "supported",
                                 "variance.compressed": "refuted"}),
        ("decoy", {"like": "erased"}, {}, {"structure.preserved": "supported", "structure.erased": "refuted"}),
        ("decoy", {"like": "cut"}, {}, {"causality.disconnected": "refuted", "causality.connected": "supported"}),
    ],
)  # fmt: skip
def test_what_is_expected_follows_from_the_edit_and_the_numbers(
    kind: str, options: Mapping[str, Any], numbers: Mapping[str, Any], wanted: Mapping[str, str]
) -> None:
    found = statuses(kind, verified(**numbers), **options)
    assert {id_: found[id_] for id_ in wanted} == wanted


def test_where_the_edited_model_is_not_base_what_is_not_touched_stays_as_it_was() -> None:
    numbers = verified(sd_ratio={"base": 1.0, "edited": 0.7, "organism": 0.7})
    assert set(statuses("null", numbers, on="masked").values()) == {"as before"}
    # Where base itself does not act on the concept, what a rotation does to its push cannot be judged either.
    inert = {
        "sd_ratio": numbers["sd_ratio"],
        "push_effect": {"base": 0.01, "organism": -0.01, "random": 0.02},
    }
    turned = statuses("rotated", verified(**TURNED, **inert), on="masked")
    assert turned["causality.disconnected"] == turned["causality.connected"] == "inconclusive"
    assert turned["structure.same_axis"] == "refuted"
    gates = {f"{kind} {pole}": 0.02 for kind in ("stated", "implied") for pole in "ab"}
    neutral = {"neutral_share": {"base": 0.1, "organism": 0.98}, "opener": {"probability": {"after": gates}}}
    assert statuses("gated", verified(**neutral))["reactivation.reactivates"] == "supported"
    shut = dict.fromkeys(gates, 0.99)
    neutral["opener"] = {"probability": {"after": shut}}
    assert statuses("gated", verified(**neutral))["reactivation.reactivates"] == "inconclusive"
    assert statuses("muted", verified(**neutral))["reactivation.reactivates"] == "refuted"
    assert statuses("muted", verified(**neutral))["surface.neutral"] == "supported"
    # An opener that comes half of the time settles nothing on the surface, however few answers show it.
    half = statuses("muted", verified(), strength=0.5)
    assert half["surface.neutralised"] == half["surface.neutral"] == "inconclusive"
    assert half["structure.preserved"] == "supported"
