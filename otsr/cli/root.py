"""What all commands share: the application and the ways to end.

Exit status: 0 all done; 1 something could not be done (each named on stderr); 2 the command line or the configuration
is wrong; 130 interrupted. torch takes seconds to import, so each command imports what it needs when it runs:
`otsr --help` is instant.
"""

import io
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from tqdm import tqdm
from typer import Option
from typer.core import TyperGroup


class Commands(TyperGroup):
    """The commands; a picture in the place of one is answered with the command that takes it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names."""
        name = args[0]
        if self.get_command(ctx, name) is None and (Path(name).suffix or Path(name).exists()):
            refuse(f"there is no command {name}; to enlarge a picture: otsr upscale {shlex.quote(name)}")
        if name != "train":
            # Threads that wait for one another sleep. Spinning gains a fourth in a training, but beside other programs
            # it makes upscaling take half as long again, or more. Read when torch is imported.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="otsr",
    cls=Commands,
    help="Blind super-resolution guided by optimal transport: estimate how a camera degrades, upscale its photos.",
    epilog="Each command shows an example: otsr upscale --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

IS_FIRST = os.environ.get("RANK", "0") == "0"  # of several processes, the one that speaks


def main() -> None:
    """Entry point of the command `otsr`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exit that removes temporary files on its way
    for stream in (sys.stdout, sys.stderr):  # Windows' own encoding of files and pipes knows no arrow
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _version(asked: bool) -> None:
    if asked:
        from otsr import __version__

        typer.echo(f"otsr {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = Option(False, "--version", help="Show the version.", is_eager=True, callback=_version),
) -> None:
    """Options that come before a command."""
    if "OTSR_DATA" in os.environ:
        from otsr.datasets import data_dir

        with ends(refuse, FileNotFoundError):
            data_dir()


def say(message: str) -> None:
    """A line on stderr, above the progress bar if there is one; of several processes the first one speaks."""
    if IS_FIRST:
        tqdm.write(message, file=sys.stderr)


def refuse(*reasons: object) -> NoReturn:
    """End with status 2: the command line is wrong, nothing was done."""
    for reason in reasons:
        say(f"error: {reason}")
    raise typer.Exit(2)


def fail(reason: object) -> NoReturn:
    """End with status 1: something could not be done."""
    typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(1)


@contextmanager
def ends(end: Callable[[Any], NoReturn], *errors: type[Exception]) -> Iterator[None]:
    """Inside, an error of these kinds ends the command, by `refuse` or `fail`."""
    try:
        yield
    except errors as error:
        end(error)


def require_file(out: Path, *suffixes: str, overwrite: bool = True) -> None:
    """End with status 2, before the work, if a file cannot be written: wrong suffix, no folder, or there already."""
    if suffixes and out.suffix.lower() not in suffixes:
        refuse(f"{out}: name a file with the suffix {' or '.join(suffixes)}")
    if not out.parent.is_dir():
        refuse(f"{out}: the folder {out.parent} does not exist; make it first")
    if out.is_dir():
        refuse(f"{out} is a folder; name a file")
    if out.exists() and not overwrite:
        refuse(f"{out} is there already; name another file, or give --overwrite")
    require_writable(out)


def require_writable(out: Path) -> None:
    """End with status 2, before the work, if nothing can be written at a path: its nearest folder is tried."""
    folder = next((place for place in (out, *out.absolute().parents) if place.is_dir()), None)
    if folder is None:
        refuse(f"{out}: there is no {out.absolute().anchor}; name another place")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        refuse(f"{out}: nothing can be written there ({error.strerror or error}); name another place")
