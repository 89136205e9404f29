"""MathJax and reveal.js, copied out of the packages of the extra [docs], so that pages need no network."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGES = {
    "mathjax": ("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax"),
    "reveal": ("sphinx-revealjs", "sphinx_revealjs/_static/revealjs"),
}
PARTS = {
    "mathjax": ["tex-svg.js", "input/tex/extensions"],
    "reveal": [
        *("LICENSE", "dist/reveal.js", "dist/reveal.css", "dist/theme/white.css", "dist/theme/fonts"),
        "plugin/notes",
    ],
}


def copy(name: str, folder: Path) -> None:
    """Copy what pages need of the library `name`, a key of `PACKAGES`, to `folder`.

    Raises:
        SystemExit: its package is not installed; the message says how to get it.
    """
    package, inside = PACKAGES[name]
    try:
        source = Path(str(distribution(package).locate_file(inside)))
    except PackageNotFoundError:
        raise SystemExit(f"{package} is not installed: pip install -c constraints.txt -e '.[docs]'") from None
    for part in PARTS[name]:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target, dirs_exist_ok=True)
        else:
            shutil.copy(source / part, target)
