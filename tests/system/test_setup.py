"""`make` says what is missing when it cannot set up."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that set-up needs, and a folder `bin` that stands for PATH."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("Makefile", "constraints.txt", "scripts/setup.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "otsr"\nversion = "0"\ndependencies = ["torch"]\n'
        "[project.optional-dependencies]\npretrained = []\ntest = []\n"
    )
    for tool in ("make", "sh", "df", "awk", "sed"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    return tmp_path


def fake(checkout: Path, name: str, script: str) -> None:
    path = checkout / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "bin" / "make", ".venv/.ready"], cwd=checkout, capture_output=True, text=True,
        env={"PATH": str(checkout / "bin"), "HOME": str(checkout), **environment},
    )  # fmt: skip


def test_an_old_python_is_named_with_the_way_out(checkout: Path) -> None:
    fake(checkout, "python3", '[ "$1" = --version ] && echo "Python 3.8.10" && exit 0; exit 1')
    result = set_up(checkout)
    assert result.returncode != 0
    assert "Python 3.11 or newer, found Python 3.8.10" in result.stderr
    assert "make PYTHON=" in result.stderr


def test_a_full_disk_is_named_with_the_need(checkout: Path) -> None:
    fake(checkout, "df", 'echo "head"; echo "/dev/x 1000000 900000 102400 90% /"')
    result = set_up(checkout, PYTHON=sys.executable)
    assert result.returncode != 0
    assert "100 MB are free" in result.stderr and "3000 MB" in result.stderr


def test_a_missing_network_is_named(checkout: Path) -> None:
    refused = "http://127.0.0.1:9/simple"
    result = set_up(
        checkout, PYTHON=sys.executable, PIP_INDEX_URL=refused, PIP_RETRIES="0", PIP_CONFIG_FILE="/dev/null",
        PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="",
    )  # fmt: skip
    assert result.returncode != 0
    assert "no network" in result.stderr
    assert not (checkout / ".venv" / ".ready").exists()


def test_the_wheel_carries_photos_metrics_and_weights(tmp_path: Path) -> None:
    """What Colab installs: without a checkout beside it, the package must find its data."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("otsr-*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    code = "from otsr.datasets import damaged_files, data_dir; print(data_dir(), damaged_files())"
    answer = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == f"{tmp_path / 'otsr' / 'data'} []"
    assert (tmp_path / "otsr" / "degradation" / "spectrum.json").is_file()
