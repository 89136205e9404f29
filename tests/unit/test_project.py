"""The files around the package agree with each other."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "lmdb": "python-lmdb"}


def name_and_bound(requirement: str) -> tuple[str, str]:
    match = re.fullmatch(r"([A-Za-z0-9_.-]+?)((?:>=|==).+)?", requirement)
    assert match, requirement
    return match[1].lower(), match[2] or ""


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def requirements(project: dict) -> dict[str, str]:
    extras = project["optional-dependencies"].values()
    return dict(name_and_bound(one) for one in sum(extras, project["dependencies"]))


def test_conda_and_pip_name_the_same_packages_and_bounds(project: dict, requirements: dict[str, str]) -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    assert pip.pop() == "--no-deps -e ."
    conda = dict(name_and_bound(entry) for entry in [*(e for e in entries if isinstance(e, str)), *pip])
    assert conda.pop("python") == project["requires-python"]
    assert conda.pop("pip") == ""
    assert conda == {CONDA_NAMES.get(name, name): bound for name, bound in requirements.items()}


def test_every_requirement_has_a_tested_pin(requirements: dict[str, str]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.split("==")[0].lower().replace("_", "-") for line in lines if not line.startswith("#")}
    assert set(requirements) <= pins


def test_citation_names_the_version_and_the_address_of_the_project(project: dict) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["repository-code"] == project["urls"]["Repository"]


def test_nothing_that_may_not_be_imported_is_imported() -> None:
    banned = re.compile(r"^\s*(?:import|from) (torchvision|basicsr|cv2|lpips|pyiqa)\b", re.MULTILINE)
    for path in [*ROOT.glob("otsr/**/*.py"), *ROOT.glob("benchmarks/*.py")]:
        assert not banned.search(path.read_text()), path


def test_imports_only_run_downwards() -> None:
    """degradation, networks and metrics know neither the command line nor the course; images know none."""
    rooms = {
        "images.py": ("otsr.degradation", "otsr.networks", "otsr.inference", "otsr.cli", "otsr.course"),
        "degradation": ("otsr.networks", "otsr.weights", "otsr.inference", "otsr.cli", "otsr.course"),
        "networks": ("otsr.inference", "otsr.cli", "otsr.course", "otsr.weights"),
        "metrics": ("otsr.inference", "otsr.cli", "otsr.course"),
        "inference.py": ("otsr.cli", "otsr.course"),
        "training": ("otsr.cli", "otsr.course"),
        "cli": ("otsr.course",),
    }
    for room, above in rooms.items():
        path = ROOT / "otsr" / room
        for file in [path] if path.is_file() else path.rglob("*.py"):
            for name in above:
                assert not re.search(rf"(?:from|import) {re.escape(name)}\b", file.read_text()), (file, name)


def test_readme_shows_the_tables_that_the_benchmarks_wrote() -> None:
    """After a benchmark: python scripts/readme.py"""
    script = runpy.run_path(str(ROOT / "scripts" / "readme.py"))
    readme = (ROOT / "README.md").read_text()
    assert all(f"<!-- table: {name} -->\n|" in readme for name in script["TABLES"])
    assert script["with_tables"](readme) == readme


def test_readme_links_to_files_that_exist() -> None:
    for document in (ROOT / "README.md", ROOT / "notebooks" / "README.md", ROOT / "data" / "README.md"):
        for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), (document, target)
