"""The notation page is what its source says, every notebook links to it, and every formula agrees with it."""

import re
from pathlib import Path

import notation
import pytest
import student
from nbformat import NotebookNode
from test_style import NOTEBOOKS, ROOT, markdown

from otsr.course.plots import COLOURS

SYMBOLS = [symbol for symbols in notation.GROUPS.values() for symbol in symbols]
GREEK = r"\\(?:varepsilon|varphi|nabla|gamma|lambda|Sigma|sigma|theta|tau|rho|mu|nu|pi)(?![A-Za-z])"
LETTER = re.compile(rf"\\(?:hat|bar)\s*\{{?[A-Za-z]|\\math(?:cal|bb)\s*\{{?[A-Z]|{GREEK}|[A-Za-z]")
NO_LETTERS = re.compile(r"\\(?:mathrm|text)\s*\{[^}]*\}|\\color\{#\w+\}")
COMMAND = re.compile(rf"(?!{GREEK})(?!\\(?:hat|bar|mathcal|mathbb)(?![A-Za-z]))\\[A-Za-z]+")
COLOURED = re.compile(
    r"\{\\color\{(#\w+)\}\{?((?:[^{}]|\{[^{}]*\})*?)\}|\\color\{(#\w+)\}\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|([A-Za-z]))"
)
SUBSCRIPT = re.compile(r"_(?:\{[^}]*\}|\w)")


def formulas(notebook: NotebookNode) -> list[str]:
    """What stands between dollar signs in the texts, not in code."""
    text = re.sub(r"```.*?```|`[^`]*`", "", markdown(notebook), flags=re.DOTALL)
    return [one or other for one, other in re.findall(r"\$\$(.*?)\$\$|\$([^$]+)\$", text, re.DOTALL)]


def letters(formula: str) -> set[str]:
    """The letters of a formula, a hat or a bar with the letter below it; names of functions and words are none."""
    found = LETTER.findall(COMMAND.sub(" ", NO_LETTERS.sub(" ", formula)))
    return {re.sub(r"[\s{]", "", letter) for letter in found}


def of_notebook(path: Path) -> list[notation.Symbol]:
    return [symbol for symbol in SYMBOLS if path.name[:2] in symbol.notebooks.split()]


def test_the_page_is_what_the_script_writes() -> None:
    page = (ROOT / "notebooks" / "NOTATION.md").read_text(encoding="utf-8")
    assert page == notation.page(), "run: python scripts/notation.py"


def test_every_notebook_links_to_the_page_before_its_first_code(notebook: NotebookNode) -> None:
    assert "[notation](NOTATION.md)" in notebook.cells[0].source.partition("**You need**")[2]


def test_readme_and_hand_out_have_the_page(tmp_path: Path) -> None:
    assert "(NOTATION.md)" in (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    student.build(tmp_path / "student")
    assert (tmp_path / "student" / "notebooks" / "NOTATION.md").read_text(encoding="utf-8") == notation.page()


def test_some_letters_have_a_colour() -> None:
    assert any(COLOURED.search(one.read_text(encoding="utf-8")) for one in NOTEBOOKS)


def test_every_letter_of_every_formula_is_explained(path: Path, notebook: NotebookNode) -> None:
    used = set().union(*map(letters, formulas(notebook)))
    explained = set().union(*(letters(symbol.latex) for symbol in of_notebook(path)))
    assert not used - explained, f"add to scripts/notation.py for {path.name[:2]}: {sorted(used - explained)}"
    assert not explained - used, f"{path.name[:2]} has no {sorted(explained - used)} in its formulas"


def test_letters_in_colour_have_the_colour_of_their_meaning(path: Path, notebook: NotebookNode) -> None:
    roles = {colour: role for role, colour in COLOURS.items()}
    for found in COLOURED.findall("\n\n".join(formulas(notebook))):
        colour, content = filter(None, found)
        for letter in letters(SUBSCRIPT.sub("", content)):
            meant = {symbol.role for symbol in of_notebook(path) if letter in letters(symbol.latex)}
            assert roles[colour] in meant, f"{letter} is {roles[colour]} in {content!r}, the page has {meant}"


@pytest.mark.parametrize("symbol", SYMBOLS, ids=lambda symbol: f"{symbol.latex}-{symbol.notebooks}")
def test_symbols_name_notebooks_in_order_and_break_no_table(symbol: notation.Symbol) -> None:
    books = symbol.notebooks.split()
    assert books == sorted(set(books)) and set(books) <= {path.name[:2] for path in NOTEBOOKS}
    assert "|" not in notation._row(symbol).removeprefix("| ").replace(" | ", "").removesuffix(" |")


def test_letters_are_told_from_names_of_functions() -> None:
    assert letters(r"{\color{#CC79A7}{v}}(x) = \min_j \log \hat y_i + \mathcal N \Sigma_{xy} \mathrm{tr} v'") == {
        "v", "x", "j", r"\haty", "i", r"\mathcalN", r"\Sigma", "y",
    }  # fmt: skip
