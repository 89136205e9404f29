"""Unit tests with the oldest versions that pyproject.toml allows and with the newest that pip finds.

    python scripts/versions.py                          # each Python that is here, 3.10 to 3.13, newest
    python scripts/versions.py --python 3.10 --oldest

Each pair gets an environment of its own in build/versions (on Linux pip takes torch with CUDA: several GB; for less,
set PIP_INDEX_URL to an index of CPU wheels). Ends with one line for each and a failing status if any failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
WINDOWS = os.name == "nt"


def interpreter(version: str) -> list[str] | None:
    """How to start this version of Python: on the path, by the launcher of Windows, or installed by pyenv."""
    if WINDOWS and shutil.which("py"):
        command = ["py", f"-{version}"]
    else:
        installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        name = str(installed[-1]) if installed else shutil.which(f"python{version}")
        if name is None:
            return None
        command = [name]
    answer = subprocess.run([*command, "-c", "print(1)"], capture_output=True)
    return command if answer.returncode == 0 else None


def oldest(project: str) -> list[str]:
    """Every requirement of the package and its tests at its lower bound: ["torch==2.4", ...]."""
    lists = re.findall(r"^(?:dependencies|test) = \[.*?^\]", project, re.MULTILINE | re.DOTALL)
    bounds = re.findall(r'"([\w.-]+)>=([\w.]+)"', "\n".join(lists))
    return [f"{name}=={version}" for name, version in bounds]


def try_out(version: str, old: bool, tests: list[str]) -> str:
    """Make the environment, run the tests, and say in a few words how it went."""
    command = interpreter(version)
    if command is None:
        return "not here"
    folder = ROOT / "build" / "versions" / f"{version}-{'oldest' if old else 'newest'}"
    python = folder / ("Scripts/python.exe" if WINDOWS else "bin/python")
    if not python.exists():
        subprocess.run([*command, "-m", "venv", str(folder)], check=True)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [*(oldest(project) if old else []), "-e", ".[pretrained,test]"]
    if subprocess.run([python, "-m", "pip", "install", "-q", *wanted], cwd=ROOT).returncode:
        return "could not be installed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "-n", "2", *tests],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    print(ran.stdout[-4000:])
    lines = ran.stdout.strip().splitlines()
    return lines[-1].strip("= ") if lines else f"pytest ended with status {ran.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="*", default=PYTHONS, help="versions, 3.10 to 3.13")
    parser.add_argument("--oldest", action="store_true", help="lower bounds instead of the newest")
    parser.add_argument("tests", nargs="*", default=["tests/unit"])
    arguments = parser.parse_args()
    found = {version: try_out(version, arguments.oldest, arguments.tests) for version in arguments.python}
    for version, words in found.items():
        print(f"Python {version}: {words}")
    sys.exit(any("passed" not in words or "failed" in words for words in found.values()))


if __name__ == "__main__":
    main()
