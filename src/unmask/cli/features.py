"""`unmask features`: train, evaluate and look into sparse autoencoders and crosscoders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unmask.cli.endings import guarded, stop

if TYPE_CHECKING:
    from unmask.features.autoencoder import SparseAutoencoder
    from unmask.features.crosscoder import Crosscoder
    from unmask.features.evaluating import Fit
    from unmask.features.latent_scaling import LatentScaling

features_app = typer.Typer(
    no_args_is_help=True, help="Train, evaluate and look into sparse autoencoders and crosscoders."
)

KINDS = ("topk", "batchtopk", "jumprelu", "crosscoder")

Corpus = Annotated[
    str,
    typer.Option(
        help="Texts: .txt, .jsonl (.gz too) or .parquet, a folder of such files, or demo:conversations."
    ),
]
Reference = Annotated[
    str,
    typer.Argument(
        help="A folder of unmask's, SAELens' or sparsify's, saelens:RELEASE/ID, or demo:smollm2-15 (of demo:base, "
        "demo:masked)"
    ),
]
Layer = Annotated[
    int | None, typer.Option(help="Whose states; 0 is the embedding. Default: what the file says.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@features_app.command()
def train(
    base: Annotated[str, typer.Argument(help="A model reference, as in `unmask audit`.")],
    aligned: Annotated[str | None, typer.Argument(help="A second model: the dictionary is of both.")] = None,
    *,
    layer: Annotated[int, typer.Option(help="Whose states; 0 is the embedding, l the output of block l.")],
    corpus: Corpus,
    out: Annotated[Path, typer.Option("--out", "-o", help="The dictionary's folder; what stopped goes on.")],
    kind: Annotated[
        str, typer.Option(help="topk, batchtopk, jumprelu or crosscoder (of two models).")
    ] = "topk",
    width: Annotated[int, typer.Option(help="Latents.")] = 4096,
    k: Annotated[int, typer.Option(help="Latents active on a token.")] = 32,
    tokens: Annotated[
        int, typer.Option(help="To train on; a smaller corpus is gone through again.")
    ] = 1_000_000,
    batch: Annotated[int, typer.Option(help="Tokens a step.")] = 2048,
    rate: Annotated[
        float | None, typer.Option(help="Learning rate; default 2e-4 / √(width / 16,384).")
    ] = None,
    window: Annotated[int, typer.Option(help="Most tokens of a text at once.")] = 256,
    keep: Annotated[
        float, typer.Option(min=0, max=1e6, help="GB of disk for activations while it trains.")
    ] = 16,
    stored: Annotated[str, typer.Option(help="Dtype on disk: float32, bfloat16 or float16.")] = "float32",
    seed: int = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Train a dictionary on the activations of one model, or of two."""
    from unmask.features.making import Order, make_dictionary
    from unmask.features.training.recipe import Recipe
    from unmask.models import load_model
    from unmask.report.training import TrainingProgress

    if (out / "cfg.json").exists():
        stop(f"{out} holds a finished dictionary; choose another folder, or remove it.")
    if kind not in KINDS:
        stop(f"no kind of dictionary '{kind}'; there are {', '.join(KINDS)}.")
    crosscoder = kind == "crosscoder"
    if crosscoder and aligned is None:
        stop("a crosscoder reads two models; give base and aligned.")
    of_latents = "batchtopk" if kind == "crosscoder" else kind
    recipe = guarded(lambda: Recipe(width, k, of_latents, tokens, batch, rate, seed=seed))
    order = guarded(lambda: Order(layer, corpus, recipe, crosscoder, window, round(keep * 10**9), stored))
    models = [guarded(lambda name=name: load_model(name, device, dtype)) for name in (base, aligned) if name]
    with TrainingProgress(recipe) as progress:
        made = guarded(lambda: make_dictionary(models, order, out, progress.step))
    for held_out in made.facts["held_out"]:
        print(
            f"{held_out['model']}: {held_out['fvu']:.3f} of held-out variance is left, {held_out['l0']:.1f} latents "
            f"are active on a token, {held_out['dead']:.0%} never."
        )
    print(f"The dictionary is in {out}.")


@features_app.command("eval")
def evaluate(
    sae: Reference,
    models: Annotated[
        list[str],
        typer.Argument(help="Model references; one or several, and base and aligned for a crosscoder."),
    ],
    *,
    corpus: Corpus,
    layer: Layer = None,
    tokens: Annotated[int, typer.Option(min=1, help="About how many to read of each model.")] = 20_000,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """How well a dictionary fits models: variance left, active and dead latents, and what its x̂ costs them."""
    from unmask.features.corpus import read_corpus
    from unmask.features.crosscoder import Crosscoder
    from unmask.features.evaluating import fit_of, fits_of_both
    from unmask.models import load_model

    dictionary, of_layer = guarded(lambda: _opened(sae, layer))
    both = isinstance(dictionary, Crosscoder)
    if both and len(models) != 2:
        stop(f"{sae} is a crosscoder, which reads two models at once; give base and aligned.")
    texts = guarded(lambda: read_corpus(corpus))
    if both:
        pair = [guarded(lambda name=name: load_model(name, device, dtype)) for name in models]
        fits, scaling = guarded(lambda: fits_of_both(dictionary, pair, of_layer, texts, tokens))
        _print_both(models, fits, scaling, as_json)
        return
    fits = {
        name: guarded(
            lambda name=name: fit_of(dictionary, load_model(name, device, dtype), of_layer, texts, tokens)
        )
        for name in models
    }
    if as_json:
        print(json.dumps({name: fit.record() for name, fit in fits.items()}, allow_nan=False))
        return
    Console().print(_table_of(fits.items()))


@features_app.command()
def top(
    sae: Reference,
    model: Annotated[str, typer.Argument(help="A model reference.")],
    latents: Annotated[
        list[int] | None, typer.Argument(help="Which; default the ten that fire most.")
    ] = None,
    *,
    corpus: Corpus,
    layer: Layer = None,
    n: Annotated[int, typer.Option(min=1, help="Contexts a latent.")] = 5,
    tokens: Annotated[int, typer.Option(min=1, help="About how many to read.")] = 200_000,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """The texts in which latents fire most."""
    from unmask.features.contexts import top_contexts
    from unmask.features.corpus import read_corpus
    from unmask.features.crosscoder import Crosscoder
    from unmask.models import load_model

    dictionary, of_layer = guarded(lambda: _opened(sae, layer))
    if isinstance(dictionary, Crosscoder):
        stop(f"{sae} is a crosscoder, which reads two models at once; give an autoencoder.")
    texts = guarded(lambda: read_corpus(corpus))
    loaded = guarded(lambda: load_model(model, device, dtype))
    found = guarded(lambda: top_contexts(dictionary, loaded, of_layer, texts, latents, n, tokens))
    if as_json:
        print(json.dumps({one.latent: one.record() for one in found}, ensure_ascii=False))
        return
    console = Console()
    for one in found:
        console.print(f"\n[bold]{one.latent}[/bold]  fires on {one.rate:.2%} of tokens")
        for context in one.contexts:
            line = Text("  ")
            for word, code in zip(context.tokens, context.codes, strict=True):
                share = code / (max(context.codes) or 1.0)
                line.append(
                    word.replace("\n", "⏎"), "bold reverse" if share > 0.5 else "underline" if share else ""
                )
            console.print(line, soft_wrap=True)
        if not one.contexts:
            console.print("  never, on these texts")


def _print_both(models: Sequence[str], fits: Sequence[Fit], scaling: LatentScaling, as_json: bool) -> None:
    """What a crosscoder is to base and aligned, and how many of its latents are whose."""
    counts = scaling.counts()
    by_model = list(zip(models, fits, strict=True))
    if as_json:
        records = [{"model": name, **fit.record()} for name, fit in by_model]
        print(json.dumps({"models": records, "latents": counts}, allow_nan=False))
        return
    latents = Table("latents", *counts, box=None)
    latents.add_row(f"{sum(counts.values()):,}", *(f"{count:,}" for count in counts.values()))
    console = Console()
    console.print(_table_of(by_model))
    console.print()
    console.print(latents)


def _table_of(fits: Iterable[tuple[str, Fit]]) -> Table:
    table = Table(
        "model", "variance left", "active", "never", "CE", "with x̂", "with 0", "recovered", box=None
    )
    for name, fit in fits:
        nats = (f"{value:.3f}" for value in (fit.cross_entropy, fit.reconstructed, fit.zeroed))
        table.add_row(
            name, f"{fit.fvu:.3f}", f"{fit.l0:.1f}", f"{fit.dead:.0%}", *nats, f"{fit.recovered:.3f}"
        )
    return table


def _opened(reference: str, layer: int | None) -> tuple[SparseAutoencoder | Crosscoder, Any]:
    """A dictionary in float32 and the layer that it reads."""
    import torch

    from unmask.features.errors import DictionaryError
    from unmask.features.formats import open_dictionary

    dictionary = open_dictionary(reference)
    found = layer if layer is not None else dictionary.facts.get("layer")
    if found is None:
        raise DictionaryError(f"{reference} does not say which layer it reads; name it with --layer.")
    return dictionary.to(torch.float32), found
