"""Every notebook keeps the house rules. No kernel is started here: what is committed is what is read."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

import notebooks

ROOT = Path(__file__).parents[2]
LINES_A_CELL = 30
COLUMNS = 100  # of code: more would scroll sideways on a projector
SET_UP_LINES = 12
BYTES = 1_000_000
ALT = 40  # characters: shorter texts cannot say what is seen
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
    pieces = []
    for output in cell.get("outputs", []):
        pieces += [output.get("text", ""), *map(str, output.get("data", {}).values())]
    return "\n".join(pieces)


def test_format_is_valid_and_the_file_is_small(path: Path, notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    assert path.stat().st_size < BYTES, f"{path.stat().st_size} bytes; show fewer or smaller figures"


def test_cells_were_run_in_order_and_none_stopped(notebook: NotebookNode) -> None:
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run: make notebooks"
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    streams = {output.get("name") for cell in cells for output in cell.outputs}
    assert "stderr" not in streams, "a warning was printed"


def test_nothing_differs_between_machines(path: Path, notebook: NotebookNode) -> None:
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert notebooks.LIVE_WIDGET not in path.read_text()
    for number, cell in enumerate(notebook.cells):
        text = cell.source + shown(cell)
        found = HOST_PATH.search(text)
        assert not found, (
            f"cell {number} holds the path of a machine: {text[found.start() : found.end() + 40]}"
        )
    assert [cell.id for cell in notebook.cells] == [
        f"{path.name[:2]}-{i:02d}" for i in range(len(notebook.cells))
    ]


def test_first_line_opens_this_notebook_in_colab_and_names_the_time(
    path: Path, notebook: NotebookNode
) -> None:
    first = notebook.cells[0].source.splitlines()[0]
    assert first.startswith(notebooks.badge(path.name) + " · "), "run: make notebooks"
    assert re.search(r"· CPU: .+ · GPU: .+", first)


def test_headings_follow_the_skeleton(path: Path, notebook: NotebookNode) -> None:
    text = re.sub(r"```.*?```", "", markdown(notebook), flags=re.DOTALL)
    titles = re.findall(r"^# (.+)$", text, re.MULTILINE)
    assert len(titles) == 1
    assert titles[0].startswith(f"{path.name[:2]} · ")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    topics = [heading for heading in headings if re.match(r"\d ", heading)]
    assert 3 <= len(topics) <= 5
    assert [topic[0] for topic in topics] == [str(i + 1) for i in range(len(topics))]
    exercises = "Exercises" if "Exercises" in headings else "Exercise"
    assert headings == ["You will", *topics, "Break it", exercises, "Recap", "References"]
    assert "### Think!" in text
    assert text.count("**Predict.**") >= 2


def test_the_recap_mirrors_the_goals(notebook: NotebookNode) -> None:
    goals, recap = (
        re.findall(r"^- ", section(notebook, name), re.MULTILINE) for name in ("You will", "Recap")
    )
    assert 3 <= len(goals) <= 4
    assert len(recap) == len(goals)


def test_the_recap_leads_to_the_next_notebook(path: Path, notebook: NotebookNode) -> None:
    """The course is one story: each notebook says which question the next one takes up."""
    following = f"{int(path.name[:2]) + 1:02d}"
    if list((ROOT / "notebooks").glob(f"{following}_*.ipynb")):
        assert re.search(rf"^Next: .*[Nn]otebook {following} ", section(notebook, "Recap"), re.MULTILINE)


def test_the_first_code_cell_sets_up_colab_and_nothing_else(notebook: NotebookNode) -> None:
    first = code_cells(notebook)[0]
    lines = first.source.splitlines()
    assert len(lines) <= SET_UP_LINES
    assert first.metadata.jupyter.source_hidden, "the set-up cell is folded"
    assert first.metadata.cellView == "form", "and in Colab too"
    assert not first.outputs
    guard = lines.index(next(line for line in lines if line.startswith('if "google.colab" in sys.modules:')))
    installs = [number for number, line in enumerate(lines) if "pip" in line]
    assert installs
    assert all(number > guard and lines[number].startswith("    %pip install -q ") for number in installs)
    assert f"git+{notebooks.repository()}" in first.source
    project = (ROOT / "pyproject.toml").read_text()
    for pinned in re.findall(r"\S+==\S+", first.source):  # only a wheel that is data, checked by its hash
        assert f'"{pinned}"' in project
    assert lines[-1] == "start()"


def test_code_cells_are_short(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= LINES_A_CELL, cell.source[:200]


def test_code_fits_the_screen(notebook: NotebookNode) -> None:
    wide = [line for cell in code_cells(notebook) for line in cell.source.splitlines() if len(line) > COLUMNS]
    assert not wide, "\n".join(wide)


def test_code_is_clean_for_strict_comparison(notebook: NotebookNode) -> None:
    """What strict nbval is known to stumble over, and what would not survive without a kernel."""
    for cell in code_cells(notebook):
        assert not cell.source.rstrip().endswith(";")
        assert not re.search(r"\b(?:interact|interactive_output|clear_output|Output)\(", cell.source)
        assert "NBVAL_" not in cell.source


def test_every_picture_has_a_text_for_those_who_cannot_see_it(notebook: NotebookNode) -> None:
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", markdown(notebook)):
        assert "colab-badge" in target or len(alt) >= ALT, f"alt text of {target}: {alt!r}"
    assert "<img" not in markdown(notebook)
    pictures = 0
    for cell in code_cells(notebook):
        for output in cell.outputs:
            for mime in output.get("data", {}):
                if mime.startswith("image/"):
                    pictures += 1
                    alt = output.metadata.get(mime, {}).get("alt", "")
                    assert len(alt) >= ALT, f"alt text {alt!r} of: {cell.source[:80]}"
    assert pictures >= 3


def test_a_paragraph_reads_every_figure(notebook: NotebookNode) -> None:
    for number, cell in enumerate(notebook.cells):
        outputs = cell.get("outputs", [])
        if any(mime.startswith("image/") for output in outputs for mime in output.get("data", {})):
            follows = notebook.cells[number + 1]
            assert follows.cell_type == "markdown", f"no text follows the figure of: {cell.source[:80]}"
            assert len(follows.source) > 120


def test_numbers_in_prose_are_printed_by_a_cell_above(notebook: NotebookNode) -> None:
    above = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            above += cell.source + shown(cell)
            continue
        prose = re.split(r"^## References", cell.source, flags=re.MULTILINE)[0]
        for unread in (
            r"```.*?```",
            r"`[^`]*`",
            r"\$\$.*?\$\$",
            r"\$[^$]*\$",
            r"\([^)]*://[^)]*\)",
            r"CC-BY\S*",
        ):
            prose = re.sub(unread, "", prose, flags=re.DOTALL)
        for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\w)", prose):
            assert number in above, f"{number} is in the text, but no cell above it prints it"


def test_references_can_be_found(notebook: NotebookNode) -> None:
    entries = re.findall(r"^\d+\. .+$", section(notebook, "References"), re.MULTILINE)
    assert len(entries) >= 2
    for entry in entries:
        assert re.search(
            r"https://doi\.org/10\.\d{4,}/\S+\)|https://arxiv\.org/abs/\d{4}\.\d{4,5}\)", entry
        ), entry
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
