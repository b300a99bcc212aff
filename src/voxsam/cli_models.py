"""``voxsam models``: list the models, and fetch their weights ahead of use."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voxsam.cli_progress import progress
from voxsam.errors import InputError

if TYPE_CHECKING:
    from voxsam.models.base import ModelCard

__all__ = ["models_app"]

#: Columns of a terminal in which the table has room for what each model is.
_WIDE = 120

models_app = typer.Typer()


@models_app.callback(invoke_without_command=True)
def models_command(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Add purpose, source and citation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: everything, as JSON.")] = False,
) -> None:
    """List the models, what they need, and what is here already.

    Weights that do not ship with voxsam are downloaded when a model is first used, or by `voxsam models pull`, and
    verified. Without a network, put the files into a folder and name it in VOXSAM_WEIGHTS, or give one with --weights.

    [bold]Examples[/bold]

      voxsam models --verbose
      voxsam models pull mobile-sam
      voxsam models pull medsam --output /media/usb
    """
    from voxsam.models.registry import CARDS

    if context.invoked_subcommand is not None:
        return
    if as_json:
        sys.stdout.write(json.dumps([_facts(card) for card in CARDS.values()], indent=1) + "\n")
        return
    console = Console(highlight=False)
    what = ["what"] if console.width >= _WIDE else []
    table = Table("name", "size", "on a CPU", "licence", "weights", *what, box=None, pad_edge=False)
    for card in CARDS.values():
        speed = card.speed_class.partition(":")[0]
        title = [escape(card.title)] if what else []
        table.add_row(card.name, _size(card), speed, escape(card.licence), _state(card), *title)
    console.print(table)
    for card in CARDS.values() if verbose else ():
        _describe(card, console)


@models_app.command("pull")
def pull_command(
    name: Annotated[str, typer.Argument(help="A name that `voxsam models` lists.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads annotations at run time
        typer.Option("--output", "-o", help="Folder to put the file into; without: your cache folder."),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="For weights whose licence asks more than to be named.")
    ] = False,
) -> None:
    """Download a model's weights ahead of use, and verify them.

    A download that broke off goes on where it stopped. Carry the file to a computer without a network, and name its
    folder there in VOXSAM_WEIGHTS.

    [bold]Examples[/bold]

      voxsam models pull mobile-sam
      voxsam models pull medsam --output /media/usb
    """
    from voxsam.models.registry import card as card_of
    from voxsam.models.weights import download, find

    card = card_of(name)
    console = Console(highlight=False, soft_wrap=True)
    if card.weights is None:
        console.print(f"{card.name} ships with voxsam: there is nothing to download")
        return
    found = None if output else find(card)
    if found is not None:
        console.print(f"{card.name} is here: {escape(str(found))}")
        return
    if not card.permissive and not accept_licence:
        _ask(card, console)
    with progress(f"Downloading {card.weights.filename}", of_bytes=True) as on_progress:
        path = download(card, output, on_progress=on_progress)
    console.print(f"{card.name} ({escape(card.licence)}): {escape(str(path))}")


def _ask(card: ModelCard, console: Console) -> None:
    """Show a licence, and go on only where the user says so."""
    question = f"The weights of {card.name} are under {card.licence}, which is not a permissive licence"
    if not sys.stdin.isatty():
        raise InputError(f"{question}; read it, then add --accept-licence")
    console.print(f"{escape(question)}: make sure that your use is allowed.")
    typer.confirm("Download them?", abort=True)


def _size(card: ModelCard) -> str:
    return "" if card.weights is None else f"{card.weights.size_mb:.0f} MB"


def _state(card: ModelCard) -> str:
    from voxsam.models.weights import find

    if find(card, verified=False) is not None:
        return "included" if card.weights is None else "installed"
    return "missing" if card.weights is None else "not here"


def _facts(card: ModelCard) -> dict[str, Any]:
    from voxsam.models.weights import find

    weights, found = card.weights, find(card, verified=False)
    return {
        "name": card.name,
        "title": card.title,
        "parameters_m": card.parameters_m,
        "speed_class": card.speed_class,
        "licence": card.licence,
        "permissive": card.permissive,
        "bundled": weights is None,
        "installed": None if found is None else str(found),
        "file": weights and weights.filename,
        "size_mb": weights and weights.size_mb,
        "url": weights and weights.url,
        "digest": weights and weights.digest,
        "citation": card.citation,
        "needs": card.needs,
    }


def _describe(card: ModelCard, console: Console) -> None:
    """Print what the table has no room for; addresses stay whole, to be copied."""
    facts = f"{card.title}; {card.parameters_m:.1f} M parameters; {card.speed_class}; {card.licence}"
    needs = f'; needs the package {card.needs}: pip install "voxsam[hf]"' if card.needs else ""
    console.print(f"\n[bold]{card.name}[/bold]: {escape(facts + needs)}", soft_wrap=True)
    url = card.weights.url if card.weights else ""
    for line in filter(None, (url, card.citation)):
        console.print(f"  {escape(line)}", soft_wrap=True)
