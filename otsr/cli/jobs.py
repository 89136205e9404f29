"""Work through many pictures: which output belongs to which input, what is done already, what went wrong.

One bad file does not stop the rest. Outputs appear whole or not at all, so a second run with the same command goes
on where the first one ended.
"""

import errno
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from otsr.cli.root import refuse, say

_SILENCE = 30.0  # seconds without a sign of life where there is no terminal
_CASELESS = ("darwin", "win32")  # systems where A.png and a.png are one file
_FULL = 1 << 20  # bytes left on a disk that counts as full


class Job(NamedTuple):
    """One picture to read and the file to make of it."""

    source: Path
    target: Path

    @property
    def done(self) -> bool:
        """The target is there, and not older than its source."""
        return self.target.exists() and self.target.stat().st_mtime >= self.source.stat().st_mtime


def find(inputs: Sequence[Path]) -> tuple[list[Path], int]:
    """The pictures that the inputs name, and how many could not be read: each of these is named on stderr."""
    from otsr.images import find_images

    problems: list[tuple[Path, str]] = []
    found = find_images(inputs, lambda path, reason: problems.append((path, reason)))
    for path, reason in problems:
        say(f"error: {path}: {reason}")
    return found, len(problems)


def plan(
    inputs: Sequence[Path], out: Path, suffix: str = ".png", *, places: Sequence[str] = (".",)
) -> tuple[list[Job], int]:
    """Pair each input picture with its output, which keeps its name and subfolder.

    If `out` lies inside an input folder, the pictures in `out` are not inputs. The command ends with status 2 if two
    inputs have the same output, an output is an input, or `out` is a file where a folder is needed.

    Args:
        out: a folder; or, where each job writes to one place, the file to make of the one picture.
        suffix: of the outputs; "keep": that of the input, where its format can be written.
        places: subfolders of `out` that each job writes to; the jobs' targets are in the first.

    Returns the jobs, and how many inputs could not be read (each is named on stderr).
    """
    from otsr.images import FORMATS, SUFFIXES, UNREADABLE

    names_file = out.suffix.lower() in FORMATS and not out.is_dir()
    one = len(inputs) == len(places) == 1 and not inputs[0].is_dir()
    if names_file and one:
        pictures, failed = find(inputs)
        return _distinct(dict.fromkeys(pictures, out)), failed
    if names_file or (out.exists() and not out.is_dir()):
        refuse(f"{out} names a file, but there may be several outputs; name a folder")
    if not out.exists() and ((one and out.suffix) or out.suffix.lower() in SUFFIXES | UNREADABLE):
        kinds = f"pictures are written as {', '.join(FORMATS)}, not as {out.suffix}"
        refuse(f"{out}: {kinds}; to use a folder of that name, make it first")
    found: dict[Path, Path] = {}  # picture: its place below `out`
    failed = 0
    for top in inputs:
        for folder in (out, *(out / place for place in places)):
            if top.is_dir() and top.resolve() == folder.resolve():
                refuse(f"{folder} is also an input; name another folder, such as {out / 'large'}")
        inside = top.resolve() in out.resolve().parents
        pictures, problems = find([top])
        failed += problems
        for path in pictures:
            if not (inside and out.resolve() in path.resolve().parents):
                below = path.parent.relative_to(top) if path != top else Path()
                kept = path.suffix if path.suffix.lower() in FORMATS else ".png"
                found.setdefault(path, below / (path.stem + (kept if suffix == "keep" else suffix)))
    every = [_distinct({path: out / place / below for path, below in found.items()}) for place in places]
    return every[0], failed  # of the other places it matters that nothing clashes there


def _distinct(targets: dict[Path, Path]) -> list[Job]:
    """The jobs of these sources and targets; the command ends where two of the files are one."""
    sources = {_identity(source) for source in targets}
    taken: dict[str, Path] = {}
    clashes = []
    for source, target in targets.items():
        if _identity(target) in sources:
            refuse(f"the output {target} is also an input; name another file or folder")
        other = taken.setdefault(_identity(target), source)
        if other != source:
            clashes.append(f"{other} and {source} would both become {target}")
    if clashes:
        refuse("; ".join([*clashes, "rename one of each (otsr upscale: --format keep helps where formats differ)"]))
    return [Job(*pair) for pair in targets.items()]


def _identity(path: Path) -> str:
    """What tells a file from others: equal for A.png and a.png where the system takes them for one."""
    name = str(path.resolve())
    return name.casefold() if sys.platform in _CASELESS else name


class Progress(tqdm):
    """Signs of life: a bar on a terminal, elsewhere a line every half minute."""

    last_line = 0.0  # when a line was printed, for whichever picture

    def __init__(self, title: str) -> None:
        look = "{desc}: {percentage:3.0f} %|{bar}| {elapsed}<{remaining}"
        quiet = not sys.stderr.isatty()
        super().__init__(desc=title, total=1, bar_format=look, leave=False, file=sys.stderr, disable=quiet)
        self.title = title

    def __call__(self, done: int, total: int) -> None:
        self.total = total
        self.update(done - self.n)
        if self.disable and time.monotonic() - Progress.last_line > _SILENCE:
            Progress.last_line = time.monotonic()
            say(f"{self.title}: {100 * done // total} %")


@contextmanager
def noted() -> Iterator[None]:
    """What the user is warned of inside becomes a note on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: say(f"note: {message}")
        yield


def run(jobs: Sequence[Job], work: Callable[[Job, Progress], None], *, overwrite: bool = False, failed: int = 0) -> int:
    """Do each job that is not done (or all, to `overwrite`), report on stderr, and return the exit status.

    `work` makes `job.target` of `job.source`, atomically, and calls the progress with (parts done, parts in all);
    `failed` counts problems that were reported before.
    """
    pending = [job for job in jobs if overwrite or not job.done]
    done, there = 0, len(jobs) - len(pending)
    go_on = "the same command goes on from here"
    Progress.last_line = time.monotonic()
    with noted():
        try:
            for number, job in enumerate(pending, 1):
                if not overwrite and job.target.exists():
                    say(f"note: {job.target} is older than {job.source}: making it again")
                try:
                    job.target.parent.mkdir(parents=True, exist_ok=True)
                    with Progress(f"{number}/{len(pending)} {job.source.name}") as progress:
                        work(job, progress)
                    with suppress(OSError):
                        # What was taken by a clock that is ahead of ours is done all the same.
                        if (taken := job.source.stat().st_mtime) > time.time():
                            os.utime(job.target, (taken, taken))
                    done += 1
                except (OSError, ValueError, MemoryError, RuntimeError) as error:
                    failed += 1
                    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
                    say(f"error: {text}" if str(job.source) in text else f"error: {job.source}: {text}")
                    if isinstance(error, OSError) and _disk_is_full(job.target.parent, error):
                        say(f"stopped: {done} of {len(pending)} done. Free some space; then {go_on}")
                        return 1
        except KeyboardInterrupt:
            if not overwrite:  # one may be made and not counted yet
                done = sum(job.done for job in pending)
            say(f"interrupted: {done} of {len(pending)} done; {go_on}")
            return 130
    left = f", {there} there already and left alone (--overwrite makes them again)" if there else ""
    one = f": {pending[0].target}" if done == len(jobs) == 1 else ""
    lost = f", {failed} failed" if failed else ""
    say(f"{done} done{left}{lost}{one}")
    return 1 if failed else 0


def _disk_is_full(folder: Path, error: OSError) -> bool:
    """Pillow's encoders lose the error number, so the disk is asked as well."""
    known = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return known or (folder.is_dir() and shutil.disk_usage(folder).free < _FULL)
