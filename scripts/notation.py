"""Write notebooks/NOTATION.md, the page of letters, colours and words, from otsr/course/notation.py.

python scripts/notation.py
"""

from __future__ import annotations

from pathlib import Path

from otsr.course.notation import page
from otsr.images import atomic_path

PAGE = Path(__file__).resolve().parents[1] / "notebooks" / "NOTATION.md"

if __name__ == "__main__":
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(PAGE.parents[1]))
