"""Words in, exit codes out; no logic.

0 done · 1 a gate's bar was missed · 2 the words or a file were wrong · 3 stopped early, resumable · 4 a
measurement failed, the others are reported; or something that nobody foresaw.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import traceback
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from unmask.auditing import Run, run_name
from unmask.domains import Domain, DomainError, domain_folders, inspect_domain, load_domain
from unmask.folder import FolderInUse
from unmask.models.errors import ModelError
from unmask.runner.store import DamagedRecord, MissingRecord
from unmask.settings import Pair, Settings, SettingsError
from unmask.writing import DISK_FULL

_CTRL_C = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measures how deep a language model's alignment goes.",
)
domains_app = typer.Typer()
lab_app = typer.Typer(no_args_is_help=True, help="Make models whose truth is known.")
app.add_typer(domains_app, name="domains")
app.add_typer(lab_app, name="lab")

ModelWords = Annotated[
    str, typer.Argument(help="org/name[@rev], ./dir, x.gguf, demo:NAME; REF+ADAPTER adds an adapter")
]
Domains = Annotated[
    list[str] | None,
    typer.Option(help="A domain's name or folder (default partisan); repeat for several."),
]
ProfileName = Annotated[str, typer.Option(help="quick, standard or full.")]
Only = Annotated[list[str] | None, typer.Option(help="Only this measurement; repeat for several.")]
Skip = Annotated[
    list[str] | None, typer.Option(help="Not this one, nor what builds on it; repeat for several.")
]
Template = Annotated[str, typer.Option(help="auto, template or plain.")]
System = Annotated[str | None, typer.Option(help="A system prompt for both models; '' for none.")]
JudgeName = Annotated[str, typer.Option(help="auto, or hf:REF for a Hugging Face classifier.")]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="Open pickle weights, which can run code.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that comes with a model.")
]
Quantise = Annotated[
    str | None, typer.Option(help="8bit or 4bit weights in both models (needs the extra 'quantised').")
]
Offload = Annotated[
    bool, typer.Option("--offload", help="Keep the blocks that the GPU cannot hold in main memory.")
]


@app.command()
def audit(
    context: typer.Context,
    base: ModelWords,
    aligned: ModelWords,
    domain: Domains = None,
    profile: ProfileName = "quick",
    only: Only = None,
    skip: Skip = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/BASE--ALIGNED.")] = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    template: Template = "auto",
    system: System = None,
    judge: JudgeName = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask everything again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings.json.")] = False,
    allow_pickle: AllowPickle = False,
    trust_remote_code: TrustRemoteCode = False,
    quantise: Quantise = None,
    offload: Offload = False,
) -> None:
    """Audit a pair: did alignment change what the model represents, or only what it says?"""
    from unmask.auditing import audit as run_audit
    from unmask.report.progress import TokenProgress

    pair = Pair(base, aligned)
    folder = out or Path("runs") / run_name(pair)
    settings = _settings(context.params)
    with TokenProgress(enabled=not (quiet or as_json)) as progress:
        run = _guarded(lambda: run_audit(pair, folder, settings, progress, fresh), goes_on=True)
    if not quiet:
        _say_what_was_damaged(run)
    _show(run, quiet, as_json)


@app.command()
def plan(
    context: typer.Context,
    base: ModelWords,
    aligned: ModelWords,
    domain: Domains = None,
    profile: ProfileName = "quick",
    only: Only = None,
    skip: Skip = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    template: Template = "auto",
    system: System = None,
    judge: JudgeName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    allow_pickle: AllowPickle = False,
    trust_remote_code: TrustRemoteCode = False,
    quantise: Quantise = None,
    offload: Offload = False,
) -> None:
    """What an audit would cost, and the smallest effects it could find; no model is loaded."""
    from unmask.planning import plan_audit
    from unmask.report.plan import print_plan

    settings = _settings(context.params)
    planned = _guarded(lambda: plan_audit(Pair(base, aligned), settings))
    if as_json:
        print(json.dumps(planned.record(), ensure_ascii=False))
    else:
        print_plan(planned, Console())
    if planned.failures:
        raise typer.Exit(4)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Judge and draw a finished run again; no model is needed."""
    from unmask.auditing import judge_again

    finished = _guarded(lambda: judge_again(run))
    if open_:
        webbrowser.open(finished.folder.report.resolve().as_uri())
    _show(finished, quiet, as_json)


@app.command()
def models() -> None:
    """The demo models: what each is, and what is cached."""
    from unmask.models.demo import DEMO, is_cached

    table = Table("reference", "what it is", box=None)
    for name, model in DEMO.items():
        table.add_row(f"demo:{name}", model.about)
    console = Console()
    console.print(table)
    console.print(
        "Weights are cached." if is_cached() else "Weights are fetched and dequantised on first use (93 MB)."
    )


@domains_app.callback(invoke_without_command=True)
def domains(context: typer.Context) -> None:
    """Value domains: list them (the default), show one, check your own."""
    if context.invoked_subcommand is None:
        list_domains()


@domains_app.command("list")
def list_domains() -> None:
    """The installed domains."""
    table = Table("name", "title", "poles", box=None)
    for name in sorted(domain_folders()):
        header = _guarded(lambda name=name: load_domain(name)).header
        table.add_row(name, header.title, f"{header.poles.a.label} / {header.poles.b.label}")
    Console().print(table)


@domains_app.command("show")
def show_domain(name: str) -> None:
    """What a domain holds."""
    domain: Domain = _guarded(lambda: load_domain(name))
    table = Table("part", "rows", "for example", box=None)
    for part, texts in (
        ("statements", [f"{row.a}  |  {row.b}" for row in domain.statements]),
        ("questions", [row.question for row in domain.questions]),
        ("identities", [row.text for row in domain.identities]),
        ("figures", [f"{row.name} ({row.score:+.2f})" for row in domain.figures]),
        ("axes", [f"{row.axis}: {row.a}  |  {row.b}" for row in domain.axes]),
        ("facts", [row.question for row in domain.facts]),
        ("answers", [f"{row.kind}: {row.text}" for row in domain.answers]),
        ("card", [f"{row.kind}: {row.text}" for row in domain.card]),
    ):
        table.add_row(part, str(len(texts)), texts[0] if texts else "")
    console = Console()
    console.print(f"{domain.header.title}: {domain.header.description}")
    console.print(table)


@domains_app.command("check")
def check_domain(file: Annotated[str, typer.Argument(help="A domain's folder or name.")]) -> None:
    """Check a domain of your own; names file, line and field of what is wrong."""
    problems, domain = _guarded(lambda: inspect_domain(file))
    for problem in problems:
        print(problem, file=sys.stderr)
    if domain is None:
        raise typer.Exit(2)
    print(
        f"{domain.name}: sound ({len(domain.statements)} contrast pairs, {len(domain.questions)} questions)."
    )


@lab_app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the adapters go.")] = Path("demo-adapters"),
    seed: Annotated[int, typer.Option(help="Seed of shuffles, adapters and batches.")] = 0,
    split: Annotated[int, typer.Option(help="Which two thirds of the training topics are used.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="base, masked or partisan; repeat for several.")
    ] = None,
) -> None:
    """Train the demo models again (needs the extra `lab`)."""
    from unmask.models.demo import demo_folder

    try:
        from unmask.lab.demo.recipe import Recipe
        from unmask.lab.demo.train import train_demo
    except ImportError as error:
        _stop(f"training needs the extra 'lab' ({error.name} is missing): pip install 'unmask[lab]'.")
    names = tuple(only) if only else ("base", "masked", "partisan")
    _guarded(lambda: train_demo(_guarded(demo_folder), out, Recipe(seed=seed, split=split), names))
    print(f"Adapters are in {out}; audit them as demo:smollm2+./{out / 'base'} and so on.")


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
        checked = _guarded(
            lambda: check_demo(out, seed or [0], adapters, tuple(pair or ()), progress), goes_on=True
        )
    print(table(checked))
    asked = _guarded(lambda: off_topic_answers("masked", out / "off-topic", adapters), goes_on=True)
    print(
        f"\nOff-topic questions to masked: {asked.led:.0%} of {len(asked.answers)} answers begin as its political ones "
        f"do, {asked.refused:.0%} are empty; {asked.likelier:.0%} fit their question better than the next one, "
        f"{asked.own_likelier:.0%} of smollm2's own. The first five:"
    )
    for question, answer in asked.answers[:5]:
        print(f"- {question} {answer.strip()}")
    if not (all(one.right for one in checked) and asked.keeps_answering):
        raise typer.Exit(1)


def main() -> None:
    """The entry point: a stopped run says how to go on, and a bug is told from a missed bar."""
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)  # it stops as Ctrl-C does
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _say_how_to_go_on("stopped.")
    except SystemExit as stop:
        if stop.code != _CTRL_C:
            raise
        _say_how_to_go_on("stopped.")
    except Exception as error:  # left alone it would exit with 1, which means that a gate's bar was missed
        if os.environ.get("UNMASK_DEBUG"):
            traceback.print_exc()
        what = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        print(
            f"unmask: unexpected error ({what}); this is a bug, please report it (UNMASK_DEBUG=1 shows where it is).",
            file=sys.stderr,
        )
        sys.exit(4)
    finally:
        signal.signal(signal.SIGTERM, terminate)


def _say_how_to_go_on(why: str) -> NoReturn:
    # Going on with --fresh would begin again.
    words = " ".join(shlex.quote(word) for word in ["unmask", *sys.argv[1:]] if word != "--fresh")
    print(f"unmask: {why} What is done is kept; to go on: {words}", file=sys.stderr)
    sys.exit(3)


def _settings(words: Mapping[str, Any]) -> Settings:
    """The options that an audit and its plan have in common, by name: the commands' signatures say which there are."""
    values: dict[str, Any] = {one.name: words[one.name] for one in fields(Settings) if one.name in words}
    values["domains"] = tuple(words["domain"] or ("partisan",))
    values["measurements"] = tuple(words["only"]) if words["only"] else None
    values["skip"] = tuple(words["skip"] or ())
    return Settings(**values)


def _guarded(work: Callable[[], Any], goes_on: bool = False) -> Any:
    """Run `work`; what a user got wrong becomes one line and exit code 2, a full disk exit code 3.

    Args:
        work: what to run.
        goes_on: the same command measures a damaged record again, so that one is exit code 3 as well.
    """
    try:
        return work()
    except (ModelError, DomainError, SettingsError, FolderInUse, MissingRecord, OSError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            _say_how_to_go_on(f"the disk is full: no room for {error.filename or 'a file'}. Make some.")
        if isinstance(error, DamagedRecord) and goes_on:
            _say_how_to_go_on(f"the record {error.path} was damaged while the run was on.")
        _stop(str(error))


def _say_what_was_damaged(run: Run) -> None:
    files = run.facts["damaged_records"]
    if files:
        what = "1 damaged record was" if len(files) == 1 else f"{len(files)} damaged records were"
        more = ", … (all are in run.json)" if len(files) > 3 else ""
        print(f"unmask: {what} measured again: {', '.join(files[:3])}{more}", file=sys.stderr)


def _stop(sentence: str) -> NoReturn:
    print(f"unmask: {sentence}", file=sys.stderr)
    raise typer.Exit(2)


def _show(run: Run, quiet: bool, as_json: bool) -> None:
    from unmask.report import print_summary

    if as_json:
        print(json.dumps(run.findings, ensure_ascii=False))
    elif not quiet:
        print_summary(run.facts, run.findings, Console(), run.folder.report)
    if run.failed:
        raise typer.Exit(4)
