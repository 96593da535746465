"""`unmask domains`: list them, show one, check your own."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from unmask.cli.endings import guarded
from unmask.domains import Domain, domain_folders, inspect_domain, load_domain

domains_app = typer.Typer()


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
        header = guarded(lambda name=name: load_domain(name)).header
        table.add_row(name, header.title, f"{header.poles.a.label} / {header.poles.b.label}")
    Console().print(table)


@domains_app.command("show")
def show_domain(name: str) -> None:
    """What a domain holds."""
    domain: Domain = guarded(lambda: load_domain(name))
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
    problems, domain = guarded(lambda: inspect_domain(file))
    for problem in problems:
        print(problem, file=sys.stderr)
    if domain is None:
        raise typer.Exit(2)
    print(
        f"{domain.name}: sound ({len(domain.statements)} contrast pairs, {len(domain.questions)} questions)."
    )
