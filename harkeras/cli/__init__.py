"""The command line: `harkeras demo | train | evaluate | predict | watch | ...`, and others; see `--help`.

Commands read their options, call the package and print. Heavy imports happen inside them, so that `--help`
answers at once.
"""

from __future__ import annotations

import logging
import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from harkeras.cli.app import app as open_app
from harkeras.cli.bench import bench
from harkeras.cli.clips import convert_labels, cut, download
from harkeras.cli.export import export
from harkeras.cli.many import predict_many
from harkeras.cli.prediction import predict
from harkeras.cli.scoring import compare, evaluate, models
from harkeras.cli.serve import serve
from harkeras.cli.teaching import teach
from harkeras.cli.terminal import print_text
from harkeras.cli.training import demo, train
from harkeras.cli.watching import watch

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
for command in (
    *(demo, train, compare, evaluate, predict, predict_many, watch, bench),
    *(export, serve, download, cut, convert_labels, models),
):
    app.command()(command)
app.add_typer(teach, name="teach")
app.command("app")(open_app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_text(f"harkeras {version('harkeras')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Human action recognition in video: from a folder of labeled clips to the named action."""


def main() -> None:
    """Run the command line: errors that a user can mend become one line and exit status 2."""
    warnings.showwarning = lambda message, *_args, **_kwargs: print_text(
        f"warning: {message}", file=sys.stderr
    )
    logger = logging.getLogger("harkeras")
    logger.handlers, logger.level = [logging.StreamHandler()], logging.INFO
    try:
        app(prog_name="harkeras")
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C, in silence
            print_text("interrupted", file=sys.stderr)
        raise
    except (ValueError, OSError, RuntimeError, MemoryError, ImportError) as error:
        print_text(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
