"""The one error of this package."""

from __future__ import annotations


class WeightsError(ValueError):
    """Weights that cannot be had, read or used; the message names the file, what was found and what to do."""
