"""Words in, exit codes out; no logic.

0 done · 1 a gate's bar was missed · 2 the words or a file were wrong · 3 stopped early, resumable · 4 a
measurement failed, the others are reported; or something that nobody foresaw.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import webbrowser
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from unmask.auditing import Run, run_name
from unmask.cli.domains import domains_app
from unmask.cli.endings import guarded, say_how_to_go_on
from unmask.cli.features import features_app
from unmask.cli.lab import lab_app
from unmask.settings import Pair, Settings

_CTRL_C = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measures how deep a language model's alignment goes.",
)
app.add_typer(domains_app, name="domains")
app.add_typer(features_app, name="features")
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
Sae = Annotated[
    str | None,
    typer.Option(
        help="A sparse autoencoder or crosscoder of the pair, for the measurement 'features': a folder, "
        "saelens:RELEASE/ID, or demo:smollm2-15."
    ),
]
SaeLayer = Annotated[int | None, typer.Option(help="Whose states it reads. Default: what its file says.")]
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
    sae: Sae = None,
    sae_layer: SaeLayer = None,
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
        run = guarded(lambda: run_audit(pair, folder, settings, progress, fresh), goes_on=True)
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
    sae: Sae = None,
    sae_layer: SaeLayer = None,
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
    planned = guarded(lambda: plan_audit(Pair(base, aligned), settings))
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

    finished = guarded(lambda: judge_again(run))
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


def main() -> None:
    """The entry point: a stopped run says how to go on, and a bug is told from a missed bar."""
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)  # it stops as Ctrl-C does
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        say_how_to_go_on("stopped.")
    except SystemExit as stop:
        if stop.code != _CTRL_C:
            raise
        say_how_to_go_on("stopped.")
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


def _settings(words: Mapping[str, Any]) -> Settings:
    """The options that an audit and its plan have in common, by name: the commands' signatures say which there are."""
    values: dict[str, Any] = {one.name: words[one.name] for one in fields(Settings) if one.name in words}
    values["domains"] = tuple(words["domain"] or ("partisan",))
    values["measurements"] = tuple(words["only"]) if words["only"] else None
    values["skip"] = tuple(words["skip"] or ())
    return Settings(**values)


def _say_what_was_damaged(run: Run) -> None:
    files = run.facts["damaged_records"]
    if files:
        what = "1 damaged record was" if len(files) == 1 else f"{len(files)} damaged records were"
        more = ", … (all are in run.json)" if len(files) > 3 else ""
        print(f"unmask: {what} measured again: {', '.join(files[:3])}{more}", file=sys.stderr)


def _show(run: Run, quiet: bool, as_json: bool) -> None:
    from unmask.report import print_summary

    if as_json:
        print(json.dumps(run.findings, ensure_ascii=False))
    elif not quiet:
        print_summary(run.facts, run.findings, Console(), run.folder.report)
    if run.failed:
        raise typer.Exit(4)
