"""Outputs are compared as words and numbers: what another machine may print passes, what is wrong does not."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from tests.notebooks.tolerance import difference, share_of


def test_every_notebook_is_compared_so_and_solved(request: pytest.FixtureRequest) -> None:
    for plugin in ("tolerance", "solutions"):
        assert request.config.pluginmanager.has_plugin(f"tests.notebooks.{plugin}")


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ("error 12.6", "error 12.7"), ("error  9.9 dB", "error 10.1 dB"), ("1,638,400 weights", "1,638,401 weights"),
        ("loss 3.1e-05", "loss 3.3e-05"), ("slope −0.52;", "slope −0.53;"), ("about -0.00", "about 0.01"),
        ("[0.41 0.5  12.25]", "[0.41 0.51 12.24]"), ("float16, 13×13, 30°, 0.3×", "float16, 13×13, 30°, 0.3×"),
    ],
)  # fmt: skip
def test_what_another_machine_may_print_passes(stored: str, found: str) -> None:
    assert difference(stored, found) is difference(found, stored) is None


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ("error 12.6", "error 13.2"),  # 5 %
        ("error 12.6", "error 12.9"),  # three units
        ("312.64", "316.1"), ("loss 3.1e-05", "loss 3.1e-04"), ("0.012", "0.12"), ("slope -0.01", "slope 0.01"),
        ("inside for 8 of 8", "inside for 7 of 8"), ("512 weights", "520 weights"), ("torch 1.2.3", "torch 1.2.4"),
        ("less than 1e-4: True", "less than 1e-4: False"), ("7.5 dB", "7.5 %"), ("7.5", "nan"), ("7.5 7.5", "7.5"),
        ("7.5\n7.5", "7.5 7.5"),
    ],
)  # fmt: skip
def test_what_is_wrong_fails(stored: str, found: str) -> None:
    assert difference(stored, found) and difference(found, stored)


def test_a_wider_tolerance_needs_a_reason() -> None:
    assert share_of(["hide-input"]) == 0.01
    assert share_of(["tolerance-5%: a game of 600 steps"]) == 0.05
    assert difference("12.6", "13.2", 0.05) is None
    assert difference("12.6", "13.4", 0.05) == "stored '12.6', found '13.4'"
    for tag in ("tolerance-5%", "tolerance-5%: ", "tolerance: chaotic", "tolerance-wide: chaotic"):
        with pytest.raises(ValueError, match="expected as in 'tolerance-5%: why"):
            share_of([tag])


def code(source: str, stored: str, *tags: str) -> nbformat.NotebookNode:
    outputs = [v4.new_output("stream", name="stdout", text=stored)] if stored else []
    return v4.new_code_cell(source, outputs=outputs, execution_count=1, metadata={"tags": [*tags]})


def test_nbval_compares_so_and_solves_the_exercises(tmp_path: Path) -> None:
    """Cell 1 is 5 % off, cell 2 too but says why, cell 3 has another word; cell 6 is solved wrongly."""
    said = "': not attempted yet' if x is ... else ': correct' * (x == 4)"
    solution = "<details><summary>Solution</summary>\n\n```python\nx = {}\n```\n</details>"
    cells = [
        code("print('12.6 dB')", "12.7 dB\n"),
        code("print('33.0 dB')", "31.4 dB\n"),
        code("print('32.9 dB')", "31.4 dB\n", "tolerance-5%: a game"),
        code("print('b')", "a\n"),
        code(f"def check(name, x): print(name + ({said}))", ""),
        code('x = ...\ncheck("sum", x)', "sum: not attempted yet\n"),
        v4.new_markdown_cell(solution.format("2 + 2")),
        code('x = ...\ncheck("more", x)', "more: not attempted yet\n"),
        v4.new_markdown_cell(solution.format("5")),
        code("print(x)", "5\n"),
    ]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "some.ipynb")
    plugins = "-p no:nbval -p conftest -p no:cacheprovider"  # as for the notebooks themselves
    options = f"-m pytest -q --nbval --nbval-current-env {plugins} some.ipynb".split()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = partial(subprocess.run, capture_output=True, text=True, cwd=tmp_path, env=environment)
    answer = run([sys.executable, *options]).stdout
    failures = "Cell 6 solved: more", "stored '31.4', found '33.0'", "stored 'a', found 'b'"
    assert "3 failed, 7 passed" in answer and all(words in answer for words in failures)
