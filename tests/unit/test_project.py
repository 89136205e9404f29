"""The files around the package agree with each other."""

from __future__ import annotations

import ast
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


def imported(code: str) -> set[str]:
    """Rooms and files of the package that a module imports, at its top or inside a function: {"inference", "cli"}."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write the whole name: from otsr.room import …"
            names |= {f"{node.module}.{name.name}" for name in node.names}
    parts = (name.split(".") for name in names)
    return {
        "inference" if rest[0] == "Upscaler" else rest[0]
        for first, *rest in parts
        if first == "otsr" and rest
    }


@pytest.mark.parametrize(
    "code",
    [
        "from otsr import images, inference",
        "from otsr.inference import Upscaler",
        "import otsr.inference as i",
        "def late():\n    from otsr import Upscaler",
    ],
)
def test_each_way_to_import_is_seen(code: str) -> None:
    assert "inference" in imported(code)


def test_imports_only_run_downwards() -> None:
    """degradation, networks and metrics know neither the command line nor the course; transport knows no image."""
    rooms = {
        "images.py": {"degradation", "networks", "inference", "cli", "course"},
        "transport": {"images", "degradation", "networks", "inference", "cli", "course", "training"},
        "degradation": {"networks", "weights", "inference", "cli", "course"},
        "networks": {"inference", "cli", "course", "weights"},
        "metrics": {"inference", "cli", "course"},
        "inference.py": {"cli", "course"},
        "training": {"cli", "course"},
        "cli": {"course"},
    }
    for room, above in rooms.items():
        path = ROOT / "otsr" / room
        files = [path] if path.is_file() else list(path.rglob("*.py"))
        assert files
        for file in files:
            assert not imported(file.read_text()) & above, file


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
