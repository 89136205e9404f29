"""Outputs of notebooks are compared as words and numbers: words exactly, numbers within one tolerance.

Two machines round differently, so a printed 12.6 may come out as 12.7 elsewhere. A number passes if it differs from
the stored one by at most two units of the last printed digit or 1 %, whichever is larger; a whole number by 1 % alone,
for it counts or names something. All else must be the same: words, signs, how many words and lines there are. White
space between words may differ, as a column that holds a longer number is padded less.

A cell that needs more says so in a tag, with the reason (without a comma, which nbformat forbids):
`tolerance-5%: rounding errors grow over 100 steps of Adam`.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import nbval.plugin

SHARE = 0.01
UNITS = 2  # of the last printed digit
_TAG = re.compile(r"tolerance-(?P<percent>\d+)%: \S.*")
_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?")
# A number that stands by itself (not the 16 of float16 or the 2 of 1.2.3), the end of a line, a word, or one sign.
_TOKEN = re.compile(rf"(?<![\w.]){_NUMBER.pattern}(?!\w|[.,]\d)|\n|\w+|[^\w\s]")


def difference(stored: str, found: str, share: float = SHARE) -> str | None:
    """What is wrong with `found`, in words; None if it says the same as `stored`, numbers up to this part of them."""
    ours, theirs = _TOKEN.findall(stored), _TOKEN.findall(found)
    for one, other in zip(ours, theirs, strict=False):
        if not _alike(one, other, share):
            return f"stored {one!r}, found {other!r}"
    if len(ours) != len(theirs):
        return f"stored {len(ours)} words and numbers, found {len(theirs)}"
    return None


def _alike(stored: str, found: str, share: float) -> bool:
    if not (_NUMBER.fullmatch(stored) and _NUMBER.fullmatch(found)):
        return stored == found
    one, other = (Decimal(text.replace(",", "").replace("−", "-")) for text in (stored, found))
    if one * other < 0:
        return False
    allowed = share * abs(float(one))
    if re.search(r"[.eE]", stored + found):
        last = min(number.as_tuple().exponent for number in (one, other))
        allowed = max(allowed, UNITS * 10.0**last)
    gap = abs(float(one - other))
    return gap <= allowed or math.isclose(gap, allowed)


def share_of(tags: list[str]) -> float:
    """The part of a number that a cell with these tags allows; ValueError for one without percentage or reason."""
    share = SHARE
    for tag in tags:
        if tag.startswith("tolerance"):
            wanted = _TAG.fullmatch(tag)
            if wanted is None:
                raise ValueError(f"the tag is {tag!r}, expected as in 'tolerance-5%: why 1 % is not enough'")
            share = int(wanted["percent"]) / 100
    return share


class Printed(str):
    """A text that equals another if it says the same; nbval compares what its `sanitize` returns with !=."""

    share: float

    def __new__(cls, text: str, share: float = SHARE) -> Printed:
        made = super().__new__(cls, text)
        made.share = share
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and difference(self, other, self.share) is None

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def pytest_itemcollected(item: Any) -> None:
    """Make nbval compare this cell's texts as words and numbers."""
    if not isinstance(item, nbval.plugin.IPyNbCell):
        return
    sanitize, share = item.sanitize, share_of(item.cell.metadata.get("tags", []))

    def printed(text: Any) -> Any:
        clean = sanitize(text)
        return Printed(clean, share) if isinstance(clean, str) else clean

    item.sanitize = printed


def pytest_assertrepr_compare(left: object, right: object) -> list[str] | None:
    """Say first which word or number differs."""
    if not (isinstance(left, Printed) and isinstance(right, Printed)):
        return None
    why = difference(left, right, left.share)
    return [f"{why}", "stored:", *left.splitlines(), "found:", *right.splitlines()]
