"""Opens a pair for work: finds both models, checks that they can be compared, chooses the frame; loads nothing big."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from unmask.domains import Domain
from unmask.features.crosscoder import Crosscoder
from unmask.features.dictionary import Dictionary
from unmask.features.evaluating import check_fits, check_order
from unmask.models.cache import cache_dir
from unmask.models.errors import ModelError
from unmask.models.judges import build_judge
from unmask.models.load import choose_device, choose_dtype, load_model, load_tokenizer, model_shape
from unmask.models.placement import check_placement, placement_facts
from unmask.models.prompts import Frame, Prompt, check_same_tokens, choose_frame
from unmask.models.references import Resolved, resolve
from unmask.models.size import model_size
from unmask.models.tokenizing import tokenize
from unmask.models.tokens import Tokens
from unmask.runner.local import Engine
from unmask.runner.requests import SIDES, Classify, Request, Score, judge_engine
from unmask.settings import Pair, Settings, SettingsError


@dataclass(frozen=True)
class OpenPair:
    """A pair that can be audited, its weights not loaded.

    Attributes:
        engines: what stands behind "base", "aligned" and each domain's judge.
        frame: how a user's words become a prompt, the same for both sides.
        n_layers: blocks of either model.
        resolved: revision and identity of each side, for the record.
        notes: what a reader of the run should know about its tokens and its frame.
        dictionary: the sparse autoencoder or crosscoder that was named.
    """

    engines: dict[str, Engine]
    frame: Frame
    n_layers: int
    resolved: dict[str, dict[str, str | None]]
    notes: list[str]
    dictionary: Dictionary | None


def open_pair(
    pair: Pair, settings: Settings, domains: Mapping[str, Domain], weights: bool = True
) -> OpenPair:
    """Find both models and the judges, check that they can be compared, and choose the frame; load nothing big.

    Args:
        pair: the two models.
        settings: device, dtype, template, judge and what may be trusted.
        domains: by name; each gets a judge.
        weights: fetch those of hub models; a plan needs none.

    Raises:
        ModelError: a model cannot be found, or the two cannot be compared.
        DictionaryError: the dictionary cannot be found, or cannot read the pair's states.
        SettingsError: a setting has no such value.
    """
    device = choose_device(settings.device)
    check_placement(settings.quantise, settings.offload, device)  # before anything is downloaded
    if settings.sae is None and settings.sae_layer is not None:
        raise SettingsError("--sae-layer says which layer a dictionary reads; name that with --sae.")
    dictionary = None if settings.sae is None else Dictionary.open(settings.sae, settings.sae_layer)
    resolved: dict[str, Resolved] = {
        side: resolve(reference, allow_pickle=settings.allow_pickle, weights=weights)
        for side, reference in (("base", pair.base), ("aligned", pair.aligned))
    }
    tokenizers = {side: load_tokenizer(found, settings.trust_remote_code) for side, found in resolved.items()}
    match = check_same_tokens(tokenizers["base"], tokenizers["aligned"])
    if not match.same:
        raise ModelError(
            f"{resolved['base'].name} and {resolved['aligned'].name} do not share a tokenizer: {match.reason} "
            "The measurements compare both models on the same tokens."
        )
    shapes = {side: model_shape(found, settings.trust_remote_code) for side, found in resolved.items()}
    if shapes["base"] != shapes["aligned"]:
        raise ModelError(
            f"{resolved['base'].name} has {shapes['base'][0]} layers of {shapes['base'][1]} and "
            f"{resolved['aligned'].name} has {shapes['aligned'][0]} of {shapes['aligned'][1]}: an aligned model is "
            "compared with the base model that it was trained from."
        )
    if dictionary is not None:
        n_layers, width = shapes["base"]
        check_fits(dictionary.stored, resolved["base"].name, width, n_layers, dictionary.layer)
        if isinstance(dictionary.stored, Crosscoder):
            check_order(dictionary.stored, [(found.name, found.identity) for found in resolved.values()])
    frame = choose_frame(tokenizers["base"], tokenizers["aligned"], settings.template, settings.system)
    dtype = str(choose_dtype(settings.dtype, torch.device(device))).removeprefix("torch.")
    facts: dict[str, object] = {"dtype": dtype, "device": device.split(":")[0]}
    if facts["device"] == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)  # kernels, and so last bits, differ between kinds
    model_facts = facts | placement_facts(settings.quantise, settings.offload)
    if settings.trust_remote_code:
        model_facts["trust_remote_code"] = True

    def side_engine(side: str) -> Engine:
        found, tokenizer = resolved[side], tokenizers[side]

        @cache  # edits and doses ask of the same texts again and again
        def tokens_of(prompt: Prompt, continuation: str) -> Tokens:
            return tokenize(tokenizer, prompt, continuation)

        def tokens(request: Request) -> Tokens:
            assert not isinstance(request, Classify)
            return tokens_of(request.prompt, request.continuation if isinstance(request, Score) else "")

        return Engine(
            found.identity,
            model_facts,
            lambda: load_model(
                found,
                device,
                dtype,
                settings.allow_pickle,
                settings.trust_remote_code,
                settings.quantise,
                settings.offload,
            ),
            tokens,
            size=model_size(found, dtype, settings.trust_remote_code),
        )

    engines: dict[str, Engine] = {side: side_engine(side) for side in SIDES}
    for name, domain in domains.items():
        spec = build_judge(domain, settings.judge, device, dtype)
        # A function is known by its name alone, which is too little to share its answers between runs.
        shared = cache_dir() / "judged" if isinstance(settings.judge, str) else None
        engines[judge_engine(name)] = Engine(spec.identity, facts, spec.load, shared=shared)
    found = {
        side: {"revision": place.revision, "identity": place.identity} for side, place in resolved.items()
    }
    return OpenPair(engines, frame, shapes["base"][0], found, [match.reason, frame.note], dictionary)
