"""scripts/course.py sets up by itself, and says what is missing when it cannot. `make` calls it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import course
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that holds only what set-up needs."""
    for name in ("constraints.txt", "constraints-app.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "otsr"\nversion = "0"\ndependencies = ["torch"]\n'
        "[project.optional-dependencies]\npretrained = []\ntest = []\n"
    )
    for name, place in (("ROOT", ""), ("VENV", ".venv"), ("READY", ".venv/.ready")):
        monkeypatch.setattr(course, name, tmp_path / place)
    monkeypatch.delenv("CONDA_DEFAULT_ENV", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("shutil.which", lambda name: None, r"Python 3\.11 or newer, found Python 3\.\d[^$]*make PYTHON="),
        ("shutil.disk_usage", lambda path: SimpleNamespace(free=10**8), r"100 MB are free .* needs 3000 MB"),
        ("subprocess.call", lambda command, **options: "pip" in command, "no network"),
    ],
)
def test_what_is_missing_is_named_with_the_way_out(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str, function: Callable[..., object], words: str
) -> None:
    monkeypatch.setattr(f"course.{name}", function)
    with pytest.raises(SystemExit, match=words):
        course.environment_python()
    assert not course.READY.exists()


@pytest.mark.parametrize(("system", "python"), [("nt", "Scripts/python.exe"), ("posix", "bin/python")])
def test_an_environment_that_is_ready_is_taken(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, system: str, python: str
) -> None:
    (checkout / ".venv").mkdir()
    course.READY.touch()
    monkeypatch.setattr(course, "os", SimpleNamespace(name=system, environ={}))
    assert Path(course.environment_python()) == checkout / ".venv" / python


def test_what_fails_ends_the_task_with_its_status(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [["-c", "open('first', 'w')"], ["-c", "raise SystemExit(3)"], ["-c", "open('third', 'w')"]]
    monkeypatch.setattr(course, "commands", lambda *task: steps)
    monkeypatch.setattr(course, "environment_python", lambda: sys.executable)
    assert course.run("test", []) == 3
    assert (checkout / "first").exists() and not (checkout / "third").exists()


def test_every_task_runs_files_that_exist_and_make_knows_it() -> None:
    makefile = re.search(r"^TASKS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert makefile and set(makefile[1].split()) == set(course.HELP)
    for task in set(course.HELP) - {"clean"}:
        for first, *_ in course.commands(task, []):
            assert first.startswith("-") or (ROOT / first).is_file(), (task, first)


def test_slow_tests_are_left_out_by_test_alone_and_not_where_tests_are_named() -> None:
    tasks = (("test", []), ("test-all", []), ("test", ["tests/unit"]))
    (some,), (every,), (named,) = (course.commands(*task) for task in tasks)
    assert "not slow" in some and "not slow" not in every and "not slow" not in named
    assert set(course.TESTS) <= set(some) & set(every)


def test_an_unknown_task_is_answered_with_the_list() -> None:
    command = [sys.executable, ROOT / "scripts" / "course.py", "pizza"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2 and "build/demo.png" in answer.stderr


@pytest.mark.parametrize(
    "check", ["ruff check .", "ruff format --check .", pytest.param("mypy", marks=pytest.mark.slow)]
)
def test_style_and_types(check: str) -> None:
    answer = subprocess.run([sys.executable, "-m", *check.split()], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
