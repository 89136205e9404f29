"""The files around the package agree with each other."""

import ast
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
import readme
import yaml
from packaging.specifiers import SpecifierSet

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "lmdb": "python-lmdb"}


def name_and_bound(requirement: str) -> tuple[str, str]:
    match = re.fullmatch(r"([\w.-]+?)((?:[>=]=.+)?)", requirement)
    assert match, requirement
    return match[1].lower(), match[2]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def requirements(project: dict) -> dict[str, str]:
    extras = project["optional-dependencies"].values()
    return dict(name_and_bound(one) for one in sum(extras, project["dependencies"]))


def pins() -> dict[str, str]:
    """Every version that `make` installs, by the package's name."""
    files = (ROOT / "constraints.txt", ROOT / "constraints-app.txt")
    lines = [line for file in files for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): pin for name, pin in (line.split("==") for line in lines)}


def test_conda_and_pip_name_the_same_packages_and_bounds(project: dict, requirements: dict[str, str]) -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    assert pip.pop() == "--no-deps -e ."
    conda = dict(name_and_bound(entry) for entry in [*(e for e in entries if isinstance(e, str)), *pip])
    assert conda.pop("python") == project["requires-python"]
    assert conda.pop("pip") == ""
    assert conda == {CONDA_NAMES.get(name, name): bound for name, bound in requirements.items()}


def test_every_requirement_has_a_tested_pin(requirements: dict[str, str]) -> None:
    assert set(requirements) <= set(pins())


def test_pinned_versions_install_on_the_first_python_that_readme_promises() -> None:
    pinned, refused = pins(), []
    for package in distributions():
        as_tested = pinned.get(package.name.lower().replace("_", "-")) == package.version
        if as_tested and "3.11.0" not in SpecifierSet(package.metadata.get("Requires-Python", "")):
            refused.append(package.name)
    assert not refused


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
    rooms = {name.split(".")[1] for name in names if name.startswith("otsr.")}
    return {"inference" if room == "Upscaler" else room for room in rooms}


# Each may import those before it: transport knows no image, and degradation no network.
ROOMS = [
    "transport", "machine", "images", "download", "datasets", "degradation", "networks", "metrics", "weights",
    "inference", "export", "evaluation", "training", "cli", "course",
]  # fmt: skip


def test_imports_only_run_downwards_and_each_way_to_import_is_seen() -> None:
    late = "def late():\n    from otsr import Upscaler"
    for code in ("from otsr import images, inference", "import otsr.inference as i", late):
        assert "inference" in imported(code)
    for number, room in enumerate(ROOMS):
        place = ROOT / "otsr" / room
        files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        assert files, room
        for file in files:
            assert not imported(file.read_text()) & set(ROOMS[number + 1 :]), file


DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "TEACHING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / room / "README.md" for room in ("benchmarks", "data", "notebooks")),
]


def test_pages_show_the_tables_that_the_benchmarks_wrote() -> None:
    """After a benchmark: python scripts/readme.py"""
    pages = [path.read_text(encoding="utf-8") for path in readme.PAGES]
    assert all(f"<!-- table: {name} -->\n|" in pages[1] for name in readme.TABLES)
    assert [readme.with_tables(page) for page in pages] == pages


def test_a_table_has_the_rows_that_a_page_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    page = "<!-- table: general; rows: otsr, bicubic -->\n| old |\n|---|\n\nread on\n"
    assert readme.with_tables(page) == page, "not measured: as it is"
    report = "## Three degradations\n\n|  | dB |\n|---|---|\n| bicubic | 1 |\n| psnr | 2 |\n| otsr | 3 |\n"
    (tmp_path / "general.md").write_text(report)
    rows = ["|  | dB |", "|---|---|", "| otsr | 3 |", "| bicubic | 1 |"]
    assert readme.with_tables(page).splitlines()[1:] == [*rows, "", "read on"]
    with pytest.raises(ValueError, match="no row gan; it has bicubic, psnr, otsr"):
        readme.with_tables(page.replace("otsr", "gan"))


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            path, _, heading = target.partition("#")
            page = document.parent / path if path else document
            assert page.exists(), target
            if heading:
                headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in [name.lower().replace(" ", "-") for name in headings], target


def test_readme_names_weights_and_recipes_that_exist() -> None:
    from otsr.datasets import recipes
    from otsr.weights import catalogue

    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{entry.name}`" in page for entry in catalogue())
    assert set(re.findall(r"otsr train ([\w-]+)", page)) <= set(recipes())
