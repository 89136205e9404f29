"""How exercises answer: the registry of checks, and `check`, which asks one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_CHECKS: dict[str, Callable[[Any], str | None]] = {}


class NotAttemptedError(Exception):
    """The stub is still as it was."""


class StoppedError(Exception):
    """The student's function raised an error; the message says which."""


def check(name: str, answer: Any) -> None:
    """Print whether `answer` solves the exercise `name`, and if not, what is wrong with it.

    Args:
        name: of the exercise, as the notebook gives it.
        answer: a value, or a function that the check calls.

    Raises:
        KeyError: no such exercise.
    """
    if name not in _CHECKS:
        raise KeyError(f"no exercise {name!r}; there are: {', '.join(sorted(_CHECKS))}")
    try:
        fault = _CHECKS[name](_attempted(answer))
    except NotAttemptedError:
        print(f"{name}: not attempted yet")
    except StoppedError as error:
        print(f"{name}: not yet. {error}")
    else:
        print(f"{name}: correct" if fault is None else f"{name}: not yet. {fault}")


def exercise(name: str) -> Callable[[Callable[[Any], str | None]], Callable[[Any], str | None]]:
    """Register the decorated function as the check of exercise `name`."""

    def register(function: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        if name in _CHECKS:
            raise ValueError(f"exercise {name!r} is registered twice")
        _CHECKS[name] = function
        return function

    return register


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the student's function returns.

    Raises:
        NotAttemptedError: it returns None or `...`.
        StoppedError: it raised an error.
    """
    try:
        result = function(*arguments)
    except Exception as error:
        raise StoppedError(f"Your function stopped with {type(error).__name__}: {error}") from error
    return _attempted(result)


def _attempted(answer: Any) -> Any:
    if answer is None or answer is ...:
        raise NotAttemptedError
    return answer
