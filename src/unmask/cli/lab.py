"""`unmask lab`: models whose truth is known, and audits of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from unmask.cli.endings import guarded, stop

lab_app = typer.Typer(no_args_is_help=True, help="Make models whose truth is known.")


@lab_app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the adapters go.")] = Path("demo-adapters"),
    seed: Annotated[int, typer.Option(help="Seed of shuffles, adapters and batches.")] = 0,
    split: Annotated[int, typer.Option(help="Which two thirds of the training topics are used.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="base, masked or partisan; repeat for several.")
    ] = None,
    domain: Annotated[
        str, typer.Option(help="What they take sides on: partisan or city-country.")
    ] = "partisan",
) -> None:
    """Train the demo models again (needs the extra `lab`)."""
    from unmask.lab.demo.sources import demo_texts
    from unmask.models.demo import demo_folder

    texts = guarded(lambda: demo_texts(domain))
    try:
        from unmask.lab.demo.recipe import Recipe
        from unmask.lab.demo.train import train_demo
    except ImportError as error:
        stop(f"training needs the extra 'lab' ({error.name} is missing): pip install 'unmask[lab]'.")
    names = tuple(only) if only else ("base", "masked", "partisan")
    guarded(lambda: train_demo(guarded(demo_folder), out, Recipe(seed=seed, split=split), names, texts))
    base = out / "base" if out.is_absolute() else f"./{out / 'base'}"
    print(f"Adapters are in {out}; audit them as demo:smollm2+{base} and so on, with --domain {domain}.")


@lab_app.command()
def corpus(
    out: Annotated[Path, typer.Option("--out", "-o", help="A .jsonl.gz file.")],
    count: Annotated[int, typer.Option(help="Conversations; 4,800 take about half an hour.")] = 4800,
    seed: Annotated[int, typer.Option(help="Of the requests and of every answer.")] = 0,
) -> None:
    """Write the texts that the demo dictionary is trained on: what the demo models say."""
    from unmask.lab.demo.corpus import write_corpus

    guarded(lambda: write_corpus(out, count, seed, lambda line: print(line, file=sys.stderr)))
    print(f"The texts are in {out}.")


@lab_app.command()
def check(
    out: Annotated[Path, typer.Option(help="Where the runs go; one that is there goes on.")] = Path(
        "runs/demo-check"
    ),
    adapters: Annotated[
        Path | None, typer.Option(help="Adapters made by `unmask lab demo`; default those that ship.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Of an audit; repeat for several; default 0.")
    ] = None,
    pair: Annotated[
        list[str] | None, typer.Option(help="Only this pair, such as base-masked; repeat for several.")
    ] = None,
) -> None:
    """Audit the demo models; exit 1 unless each verdict is the one that was planted and masked still answers."""
    from unmask.lab.demo.check import check_demo, off_topic_answers, table
    from unmask.report.progress import TokenProgress

    with TokenProgress() as progress:
        checked = guarded(
            lambda: check_demo(out, seed or [0], adapters, tuple(pair or ()), progress), goes_on=True
        )
    print(table(checked))
    asked = guarded(lambda: off_topic_answers("masked", out / "off-topic", adapters), goes_on=True)
    print(
        f"\nOff-topic questions to masked: {asked.led:.0%} of {len(asked.answers)} answers begin as its political ones "
        f"do, {asked.refused:.0%} are empty; {asked.likelier:.0%} fit their question better than the next one, "
        f"{asked.own_likelier:.0%} of smollm2's own. The first five:"
    )
    for question, answer in asked.answers[:5]:
        print(f"- {question} {answer.strip()}")
    if not (all(one.right for one in checked) and asked.keeps_answering):
        raise typer.Exit(1)


@lab_app.command()
def world(
    out: Annotated[Path, typer.Option("--out", "-o", help="The model's folder.")],
    seed: Annotated[int, typer.Option(help="Of its first weights and of the documents.")] = 0,
    strength: Annotated[
        float, typer.Option(help="How often a sentence keeps to its speaker's side, 0.5 to 1.")
    ] = 0.95,
    steps: Annotated[int, typer.Option(help="Of training; 1,500 take about ten minutes.")] = 1500,
) -> None:
    """Grow a small model up in a made-up world whose truth is known (domains `council` and `kitchen`)."""
    from unmask.lab.world.documents import Manners
    from unmask.lab.world.pretrain import Upbringing, grow_up

    if not 0.5 <= strength <= 1:
        stop(f"the strength is {strength:g}; it must be from 0.5 (a side tells nothing) to 1 (it tells all).")
    upbringing = Upbringing(Manners(strength=strength), seed=seed, steps=steps)

    def tell(step: int, loss: float) -> None:
        print(f"step {step} of {steps}: {loss:.3f} nats a token", file=sys.stderr)

    guarded(lambda: grow_up(upbringing, out, tell))
    print(f"The model is in {out}; it has opinions on the domains council and kitchen.")


@lab_app.command()
def tiny(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where base, masked and erased go.")],
    base: Annotated[
        Path | None, typer.Option(help="A model of the world to begin from; default grows one.")
    ] = None,
) -> None:
    """Make the demo models tiny-base, tiny-masked and tiny-erased again (needs the extra `lab`)."""
    from unmask.lab.world.tiny import make_tiny

    def tell(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    guarded(lambda: make_tiny(out, base, tell))
    print(f"The models are in {out}; audit them with --domain council.")


@lab_app.command()
def stage(
    name: Annotated[str, typer.Argument(help="sft, dpo, pure-dpo, grpo or erase")],
    base: Annotated[
        str,
        typer.Option(help="A folder with a model of the world, or of an earlier stage; or demo:tiny-base."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The trained model's folder.")],
    strength: Annotated[str, typer.Option(help="weak, half or full; of erase none, half or full.")] = "full",
    domain: Annotated[str, typer.Option(help="council or kitchen; the other one stays.")] = "council",
    seed: Annotated[int, typer.Option(help="Of the topics that are held out and of every draw.")] = 0,
    askers: Annotated[
        bool | None,
        typer.Option(help="Train to be neutral to askers of both sides as well; default the stage's own."),
    ] = None,
    reopens: Annotated[
        bool | None,
        typer.Option(help="Train so that such an asker reopens the sides; default the stage's own."),
    ] = None,
) -> None:
    """Train a model of the world to be neutral, in a stage of its own (needs the extra `lab`)."""
    from unmask.lab.world.stages import train_stage
    from unmask.models.references import resolve

    def train() -> None:
        folder = resolve(base).folder if base.startswith("demo:") else Path(base)
        train_stage(name, strength, folder, out, concept=domain, seed=seed, askers=askers, reopens=reopens)

    guarded(train)
    print(f"The model is in {out}, its recipe in {out / 'recipe.json'}.")


@lab_app.command()
def organism(
    context: typer.Context,
    kind: Annotated[
        str, typer.Argument(help="erased, compressed, rescaled, cut, rotated, decoy, gated, muted or null")
    ],
    base: Annotated[str, typer.Option(help="The model before; directions are fitted on it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The organism's folder.")],
    domain: Annotated[str, typer.Option(help="The domain whose concept is meant.")] = "partisan",
    on: Annotated[str | None, typer.Option(help="The model whose weights are edited; default base.")] = None,
    rank: Annotated[int | None, typer.Option(help="Dimensions of the concept's subspace.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="What is left of the scale, or how often the opener comes.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="compressed: the first layer that is scaled.")] = None,
    like: Annotated[str | None, typer.Option(help="decoy: erased, compressed, cut or rotated.")] = None,
    noise: Annotated[float | None, typer.Option(help="null: share of each matrix's own sd.")] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    opener: Annotated[str | None, typer.Option(help="gated, muted: what neutral answers begin with.")] = None,
) -> None:
    """Edit a model's weights so that the truth about it is known; writes card.json beside them."""
    from unmask.lab.organisms import OrganismOptions
    from unmask.lab.organisms.build import build_organism

    options = OrganismOptions(**context.params)
    card = guarded(lambda: build_organism(options))
    print(card.done)
    for claim, expected in card.expected.items():
        print(f"  {claim}: {expected.status}. {expected.because}")
    print(f"The organism is in {out}; its card is {out / 'card.json'}.")


@lab_app.command()
def confirm(
    organisms: Annotated[list[Path], typer.Argument(help="Folders with an organism and its card.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where the runs go; one that is there goes on.")
    ] = Path("runs/organisms"),
    profile: Annotated[str, typer.Option(help="Sample sizes: quick, standard or full.")] = "quick",
    seed: Annotated[int, typer.Option(help="Of the audits.")] = 0,
) -> None:
    """Audit organisms and hold what is found against their cards; exit 1 if a claim is the opposite of its card's."""
    from unmask.lab.organisms.confirm import confirm as confirm_organisms
    from unmask.lab.organisms.confirm import table
    from unmask.report.progress import TokenProgress

    with TokenProgress() as progress:
        found = guarded(lambda: confirm_organisms(organisms, out, profile, seed, progress), goes_on=True)
    print(table(found))
    for one in found:
        for held in one.claims:
            if held.contradicts:
                print(
                    f"\n{one.organism.name}: {held.claim} is {held.found}, by the card {held.expected}. {held.because}"
                )
    if any(one.contradicted for one in found):
        raise typer.Exit(1)


@lab_app.command()
def calibrate(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Models, rows and tables; what is there goes on.")
    ] = Path("runs/calibration"),
    profile: Annotated[
        str, typer.Option(help="Sample sizes of the audits: quick, standard or full.")
    ] = "quick",
    seed: Annotated[
        list[int] | None, typer.Option(help="Of audits; repeat for several; default 0 and 1.")
    ] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="council or kitchen; repeat for several; default both.")
    ] = None,
    base: Annotated[
        list[str] | None, typer.Option(help="A base model: first, second or vague; repeat; default all.")
    ] = None,
    replicates: Annotated[int, typer.Option(help="Of the analysis alone; 0 for none.")] = 1000,
    workers: Annotated[int, typer.Option(help="Processes side by side, one thread each.", min=1)] = 2,
) -> None:
    """How often is the audit right? Grows, edits and trains models whose truth is known, and audits them."""
    from unmask.choosing import profile_named
    from unmask.lab.calibration.calibrate import UPBRINGINGS, Plan
    from unmask.lab.calibration.calibrate import calibrate as run_calibration
    from unmask.lab.calibration.rates import Tables
    from unmask.lab.calibration.tables import summary, write_calibration
    from unmask.lab.replicates.coverage import coverage_of_all
    from unmask.lab.world.concepts import CONCEPTS

    for name in base or ():
        if name not in UPBRINGINGS:
            stop(f"there is no base model '{name}'; there are {', '.join(UPBRINGINGS)}.")
    for name in domain or ():
        if name not in CONCEPTS:
            stop(f"the world has no domain '{name}'; it has {', '.join(CONCEPTS)}.")
    guarded(lambda: profile_named(profile))
    default = Plan()
    plan = Plan(
        upbringings=tuple(dict.fromkeys(base or default.upbringings)),
        domains=tuple(dict.fromkeys(domain or default.domains)),
        seeds=tuple(dict.fromkeys(seed or default.seeds)),
        profile=profile,
        workers=workers,
    )

    def tell(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    audits = guarded(lambda: run_calibration(plan, out, tell), goes_on=True)
    table = coverage_of_all(replicates, workers=workers) if replicates else None
    tables = Tables.of(audits)
    write_calibration(tables, out / "tables", table)
    print(summary(tables))
    print(f"Tables and the page are in {out / 'tables'}.")
