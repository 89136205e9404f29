"""Everything there is to do here, on Linux, macOS and Windows: python scripts/course.py TASK [ARGUMENT]...

The first task makes .venv and installs the tested versions into it; later ones start at once. With `conda activate
otsr` the tasks run in that environment instead. `make TASK` calls this file.
Written for any Python 3, so that an old one can say what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
READY = VENV / ".ready"
EXTRAS = "pretrained,heic,test,docs"
MEGABYTES = 3000
TESTS = ["notebooks", "tests/notebooks", "tests/system", "tests/unit"]  # what takes longest comes first
TESTING = ("test", "test-all")
FILES_WHOLE = ["--dist", "loadfile", "--no-loadscope-reorder"]
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/notebooks/sanitize.cfg"]

HELP = {
    "demo": "the whole method on a real phone photo, written to build/demo.png",
    "lab": "JupyterLab on notebook 00",
    "test": "every notebook and every test that is not slow; or those that are named",
    "test-all": "the slow ones too: browsers, the site, trainings that are killed; continuous integration runs it",
    "test-elsewhere": "unit tests and notebooks as on other machines (an hour)",
    "site": "the course as a web site that needs no network: build/site/index.html",
    "slides": "slides of every notebook, to present without a network: build/slides",
    "student": "the notebooks without solutions, for hand-out: build/student",
    "grade": "FOLDER: who of a class solved what, as a table and a page: build/grades.html",
    "notebooks": "run the notebooks and store their outputs",
    "figures": "draw the figures of the course and of README anew",
    "bench": "all benchmarks (hours)",
    "gpu": "CUDA tests and benchmarks, and one table, on a machine with a GPU",
    "format": "ruff's corrections and layout",
    "clean": "remove .venv, build and the caches",
}


def commands(task: str, arguments: list[str]) -> list[list[str]]:
    """What `task` runs, each as arguments of Python. Its own arguments go to the last."""
    if task in TESTING:
        pytest = ["-m", "pytest", "-q", "-n", workers(), *FILES_WHOLE, *NBVAL]
        chosen = ["-m", "not slow", *TESTS] if task == "test" else TESTS
        return [[*pytest, *(arguments or chosen)]]
    if task in ("figures", "bench"):
        folder = ROOT / {"figures": "figures", "bench": "benchmarks"}[task]
        files = sorted(file for file in folder.glob("*.py") if "__main__" in file.read_text(encoding="utf-8"))
        return [[str(file.relative_to(ROOT))] for file in files]
    steps = {
        "demo": [["figures/demo.py", "build/demo.png"]],
        "site": [["scripts/build_site.py"]],
        "lab": [["-m", "jupyterlab", "notebooks/00_start_here.ipynb"]],
        "test-elsewhere": [["scripts/elsewhere.py"]],
        "format": [["-m", "ruff", "check", "--fix", "."], ["-m", "ruff", "format", "."]],
    }.get(task, [[f"scripts/{task}.py"]])
    return [*steps[:-1], [*steps[-1], *arguments]]


def workers() -> str:
    """How many tests run at a time: one a core, as more would only share its caches; each may take 3 GB of memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 << 30
    return str(max(2, min(4, os.cpu_count() or 1, memory // (3 << 30))))


def run(task: str, arguments: list[str]) -> int:
    """Exit status of the task: 0, or that of the first command that failed."""
    python = environment_python()
    environment = dict(os.environ)
    if task in TESTING:  # the processes share the cores; no output of a notebook depends on their number
        environment["OMP_NUM_THREADS"] = "1"
    (ROOT / "build").mkdir(exist_ok=True)
    steps = commands(task, arguments)
    for step in steps:
        if len(steps) > 1:
            print("== " + " ".join(step), flush=True)
        status = finished(subprocess.Popen([python, *step], cwd=str(ROOT), env=environment))
        if status:
            return status
    return 0


def finished(process: subprocess.Popen) -> int:
    """Exit status of a process once it has ended; Ctrl-C is for the process, which may have something to save."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def environment_python() -> str:
    """The Python of the course's environment, which is made or brought up to date first.

    Raises:
        SystemExit: it cannot be made; the message says what is missing and what to do.
    """
    if os.environ.get("CONDA_DEFAULT_ENV") == "otsr":
        return sys.executable
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    needs = [ROOT / name for name in ("pyproject.toml", "constraints.txt", "constraints-app.txt")]
    if not READY.exists() or READY.stat().st_mtime < max(need.stat().st_mtime for need in needs):
        set_up(python)
    return str(python)


def set_up(python: Path) -> None:
    """Make .venv and install the course into it."""
    base = new_enough_python()
    free = shutil.disk_usage(str(ROOT)).free // 10**6
    if free < MEGABYTES and not python.exists():
        raise problem(
            f"{free} MB are free on this disk; the installation needs {MEGABYTES} MB. Make room and try again."
        )
    if subprocess.call([base, "-m", "venv", str(VENV)]):
        raise problem(f"{base} could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv")
    print("Installing OTSR and its libraries into .venv (some minutes the first time) ...", flush=True)
    pip = "-m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt"
    steps = (["-e", f".[{EXTRAS}]"], ["--no-deps", "-r", "constraints-app.txt"])
    if any(subprocess.call([str(python), *pip.split(), *step], cwd=str(ROOT)) for step in steps):
        raise problem(
            "pip could not install the libraries (its reason stands above).\nMost often there is no network, or "
            f"a proxy in between: try  {python} -m pip download six"
        )
    READY.touch()


def new_enough_python() -> str:
    """This Python, or another one on this machine, 3.11 or newer."""
    names = [sys.executable, "python3.11", "python3.12", "python3.13", "python3", "python"]
    question = "import sys; sys.exit(sys.version_info < (3, 11))"
    for name in filter(None, map(shutil.which, names)):
        if subprocess.call([name, "-c", question], stderr=subprocess.DEVNULL) == 0:
            return name
    found = ".".join(map(str, sys.version_info[:3]))
    raise problem(
        f"the tested versions need Python 3.11 or newer, found Python {found}.\n"
        "Install one (https://www.python.org/downloads) and call it by its path: "
        "PATH/TO/python scripts/course.py, or make PYTHON=PATH/TO/python\n"
        "With Python 3.10: python3 -m pip install -e '.[pretrained,heic,test]' without the pinned versions."
    )


def problem(message: str) -> SystemExit:
    return SystemExit(f"OTSR: {message}")


def clean() -> None:
    for name in (".venv", "build", ".pytest_cache", ".mypy_cache", ".ruff_cache"):
        shutil.rmtree(str(ROOT / name), ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Exit status: that of the task, or 2 when there is no such task."""
    task, *rest = arguments or ["help"]
    if task == "clean":
        clean()
        return 0
    if task not in HELP:
        wanted = task in ("help", "-h", "--help")
        lines = [f"  {name:15} {words}" for name, words in HELP.items()]
        print(
            "\n".join(["python scripts/course.py TASK", "", *lines]),
            file=sys.stdout if wanted else sys.stderr,
        )
        return 0 if wanted else 2
    return run(task, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
