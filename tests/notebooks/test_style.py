"""Every notebook keeps the house rules. No kernel is started here: what is committed is what is read."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

import notebooks

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALT = 40  # characters: shorter texts cannot say what is seen
UNREAD = r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\([^)]*://[^)]*\)|CC-BY\S*"  # code, formulas, addresses
HOST_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|tmp|work|opt|usr|mnt|content)/\w|[A-Z]:\\\\?Users")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def section(notebook: NotebookNode, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", markdown(notebook), re.MULTILINE | re.DOTALL)
    assert found, f"no section '## {heading}'"
    return found[1]


def shown(cell: NotebookNode) -> str:
    """All text that a cell printed or displayed."""
    outputs = cell.get("outputs", [])
    data = (str(one) for output in outputs for one in output.get("data", {}).values())
    return "\n".join([*(output.get("text", "") for output in outputs), *data])


def test_format_is_valid_and_the_file_is_small(path: Path, notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    assert path.stat().st_size < 1_000_000, f"{path.stat().st_size} bytes; show fewer or smaller figures"


def test_cells_were_run_in_order_and_none_stopped(notebook: NotebookNode) -> None:
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run: make notebooks"
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [one for one in outputs if one.output_type == "error" or one.get("name") == "stderr"]


def test_nothing_differs_between_machines(path: Path, notebook: NotebookNode) -> None:
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert notebooks.LIVE_WIDGET not in path.read_text()
    for number, cell in enumerate(notebook.cells):
        assert cell.id == f"{path.name[:2]}-{number:02d}"
        found = HOST_PATH.search(cell.source + shown(cell))
        assert not found, f"cell {number} holds the path of a machine: {found[0]}"


def test_first_line_opens_it_in_colab_and_names_the_time(path: Path, notebook: NotebookNode) -> None:
    first = notebook.cells[0].source.splitlines()[0]
    assert first.startswith(notebooks.badge(path.name) + " · "), "run: make notebooks"
    assert re.search(r"· CPU: .+ · GPU: .+", first)


def test_headings_follow_the_skeleton(path: Path, notebook: NotebookNode) -> None:
    text = re.sub(r"```.*?```", "", markdown(notebook), flags=re.DOTALL)
    (title,) = re.findall(r"^# (.+)$", text, re.MULTILINE)
    assert title.startswith(f"{path.name[:2]} · ")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    topics = [heading for heading in headings if re.match(r"\d ", heading)]
    assert "".join(topic[0] for topic in topics) in ("123", "1234", "12345")
    exercises = "Exercises" if "Exercises" in headings else "Exercise"
    assert headings == ["You will", *topics, "Break it", exercises, "Recap", "References"]
    assert "### Think!" in text and text.count("**Predict.**") >= 2


def test_the_recap_mirrors_the_goals(notebook: NotebookNode) -> None:
    goals, recap = (("\n" + section(notebook, name)).count("\n- ") for name in ("You will", "Recap"))
    assert goals == recap and goals in (3, 4)


def test_the_recap_leads_to_the_next_notebook(path: Path, notebook: NotebookNode) -> None:
    """The course is one story: each notebook says which question the next one takes up."""
    following = f"{int(path.name[:2]) + 1:02d}"
    if list((ROOT / "notebooks").glob(f"{following}_*.ipynb")):
        assert re.search(rf"^Next: .*[Nn]otebook {following} ", section(notebook, "Recap"), re.MULTILINE)


def test_the_first_code_cell_sets_up_colab_and_nothing_else(notebook: NotebookNode) -> None:
    first = code_cells(notebook)[0]
    assert first.metadata.jupyter.source_hidden, "the set-up cell is folded"
    assert first.metadata.cellView == "form", "and in Colab too"
    assert not first.outputs
    before, _, after = first.source.partition('\nif "google.colab" in sys.modules:')
    installs = [line for line in after.splitlines() if "pip" in line]
    assert installs and "pip" not in before
    assert all(line.startswith("    %pip install -q ") for line in installs)
    assert f"git+{notebooks.repository()}" in first.source
    project = (ROOT / "pyproject.toml").read_text()
    for pinned in re.findall(r"\S+==\S+", first.source):  # only a wheel that is data, checked by its hash
        assert f'"{pinned}"' in project
    assert len(first.source.splitlines()) <= 12 and after.endswith("\nstart()")


def test_code_is_short_fits_the_screen_and_survives_a_strict_comparison(notebook: NotebookNode) -> None:
    """Without what nbval is known to stumble over, and what does not live without a kernel."""
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        assert len(lines) <= 30, cell.source[:200]
        assert not [line for line in lines if len(line) > 100], "it would scroll sideways on a projector"
        assert not cell.source.rstrip().endswith(";")
        assert not re.search(r"\b(?:interact|interactive_output|clear_output|Output)\(|NBVAL_", cell.source)


def test_every_picture_has_a_text_for_those_who_cannot_see_it(notebook: NotebookNode) -> None:
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", markdown(notebook)):
        assert "colab-badge" in target or len(alt) >= ALT, f"alt text of {target}: {alt!r}"
    assert "<img" not in markdown(notebook)
    alts = [alt for cell in code_cells(notebook) for alt in alts_of(cell)]
    assert len(alts) >= 3 and not [alt for alt in alts if len(alt) < ALT]


def alts_of(cell: NotebookNode) -> list[str]:
    """The alternative text of each picture that a cell shows, empty where there is none."""
    outputs = cell.get("outputs", [])
    pictures = [(one, mime) for one in outputs for mime in one.get("data", {}) if "image/" in mime]
    return [output.get("metadata", {}).get(mime, {}).get("alt", "") for output, mime in pictures]


def test_a_paragraph_reads_every_figure(notebook: NotebookNode) -> None:
    for cell, follows in pairwise(notebook.cells):
        if alts_of(cell):
            assert follows.cell_type == "markdown" and len(follows.source) > 120, cell.source[:80]
    assert not alts_of(notebook.cells[-1])


def test_numbers_in_prose_are_printed_by_a_cell_above(notebook: NotebookNode) -> None:
    above = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            above += cell.source + shown(cell)
            continue
        prose = re.sub(UNREAD, "", cell.source.split("## References")[0], flags=re.DOTALL)
        for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\w)", prose):
            assert number in above, f"{number} is in the text, but no cell above it prints it"


def test_references_can_be_found(notebook: NotebookNode) -> None:
    entries = re.findall(r"^\d+\. .+$", section(notebook, "References"), re.MULTILINE)
    assert len(entries) >= 2
    for entry in entries:
        assert re.search(r"https://(doi\.org/10\.\d{4,}/\S+|arxiv\.org/abs/\d{4}\.\d{4,5})\)", entry), entry
    body = markdown(notebook).split("## References")[0]
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", body)}
    assert cited <= set(range(1, len(entries) + 1))


def test_the_table_of_notebooks_names_this_one(path: Path) -> None:
    assert f"({path.name})" in (ROOT / "notebooks" / "README.md").read_text()


def test_addresses_are_made_anew_from_the_one_in_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    text = notebooks.badge("00_start_here.ipynb") + " · git+https://old.example/x"
    monkeypatch.setattr(notebooks, "repository", lambda: "https://github.com/some/where")
    written = notebooks.write_addresses(text, "00_start_here.ipynb")
    assert "github/some/where/blob/main/notebooks/00_start_here.ipynb" in written
    assert written.endswith("git+https://github.com/some/where")
