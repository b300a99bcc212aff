"""The command line: ``voxsam segment | info | embed | models | export | sample | evaluate | replay``."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NoReturn, Optional, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voxsam.allocator import keep_memory
from voxsam.cli_evaluate import evaluate_command
from voxsam.cli_export import export_command
from voxsam.cli_finetune import finetune_command
from voxsam.cli_info import info_command
from voxsam.cli_models import models_app
from voxsam.cli_progress import note, progress
from voxsam.cli_replay import replay_command
from voxsam.cli_segment import embed_command, segment_command
from voxsam.errors import Cancelled, VoxsamError

__all__ = ["app", "main"]

#: What typer raises for a wrong option; where the class lives differs between its versions.
_USAGE_ERROR = cast(
    "type[Exception]", next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("segment")(segment_command)
app.command("info")(info_command)
app.command("embed")(embed_command)
app.command("evaluate")(evaluate_command)
app.command("export")(export_command)
app.command("replay")(replay_command)
app.add_typer(models_app, name="models")
app.command("finetune")(finetune_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without: what the program was called with.

    Returns
    -------
    int
        0 done, 2 something that the user can put right (one line on standard error says what), 130 stopped by
        Ctrl-C. A fault of voxsam's own ends the program with 1.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    if not debug:
        sys.excepthook = _one_line
    warnings.showwarning = _note
    keep_memory()
    try:  # the command itself: calling the app would put typer's own traceback in place of ours
        code = typer.main.get_command(app)(given, prog_name="voxsam", standalone_mode=False)
    except _USAGE_ERROR as error:
        if debug:
            raise
        return _complain(cast("Any", error).format_message())
    except (Cancelled, KeyboardInterrupt, typer.Abort):
        if debug:
            raise
        return 130
    except VoxsamError as error:
        if debug:
            raise
        return _complain(str(error))
    return code if isinstance(code, int) else 0


def _complain(message: str) -> int:
    """Print a message on one line of standard error."""
    sys.stderr.write(f"voxsam: {' '.join(message.split())}\n")
    return 2


def _note(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning on one line, without the place in the source that raised it."""
    note(str(message))


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Take the place of a traceback for faults of our own."""
    where = trace
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    at = f" at {Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
    said = " ".join(str(error).split())
    sys.stderr.write(f"voxsam: internal error: {kind.__name__}: {said}{at}; run again with --debug and report it\n")


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"voxsam {version_of('voxsam')}\n")
        raise typer.Exit


@app.callback()
def _voxsam(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Anywhere on the line: show where in the program an error arose.")
    ] = False,
) -> None:
    """Prompt a CT or MR scan with a few clicks or a box; get a 3D mask on the scan's own grid.

    [bold]Try it:[/bold]  voxsam sample ct-abdomen; voxsam info ct_abdomen.nii.gz; voxsam segment --help

    Exit codes: 0 done, 2 something to put right (one line says what), 1 a fault of voxsam, 130 stopped by Ctrl-C.
    """


@app.command("sample")
def sample_command(
    name: Annotated[Optional[str], typer.Argument(help="Which one; without, all are listed.")] = None,  # noqa: UP045
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to put it into.")] = Path(),
) -> None:
    """Get a scan to try voxsam on: two drawn ones ship with it, real ones are downloaded from their publishers.

    [bold]Examples[/bold]

      voxsam sample
      voxsam sample ct-abdomen -o scans
      voxsam sample slicer-ct-liver -o scans
    """
    from voxsam.samples import get_sample, sample, samples

    console = Console()
    if name is None:
        table = Table("name", "what", "from", "licence", box=None, pad_edge=False)
        for entry in samples().values():
            table.add_row(entry.name, entry.title, "ships with voxsam" if entry.bundled else "download", entry.licence)
        console.print(table)
        return
    chosen = sample(name)
    with progress(f"Downloading {chosen.file}", of_bytes=True) as on_progress:
        paths = get_sample(name, output, on_progress=None if chosen.bundled else on_progress)
    for path in paths:
        console.print(escape(str(path)), soft_wrap=True, highlight=False)
    if chosen.labels:
        named = ", ".join(f"{value} {label}" for value, label in chosen.labels.items())
        console.print(f"labels of the truth: {named}", soft_wrap=True, highlight=False)
    call = shlex.join(["voxsam", "info", str(paths[0])])
    console.print(f"next: {escape(call)}", soft_wrap=True, highlight=False)


def run() -> NoReturn:
    """Be the program ``voxsam``."""
    sys.exit(main())


if __name__ == "__main__":
    run()
