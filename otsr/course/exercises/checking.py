"""How exercises answer: `check` asks one of the registered checks; `ask` makes most of them from tables."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Mistakes = Sequence[tuple[Callable[..., Any], str]]

_CHECKS: dict[str, Callable[[Any], str | None]] = {}


class NotAttemptedError(Exception):
    """The stub is still as it was."""


class StoppedError(Exception):
    """The student's function raised an error, or returned the wrong kind of thing; the message says which."""


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
        NotAttemptedError: it is still a stub.
        StoppedError: it raised an error, or returns nothing though it does something.
    """
    try:
        result = function(*arguments)
    except StoppedError:
        raise
    except Exception as error:
        raise StoppedError(f"Your function stopped with {type(error).__name__}: {error}") from error
    code = getattr(function, "__code__", None)
    if result is None and code is not None and code.co_names:  # a stub names nothing
        raise StoppedError(
            "Your function returns nothing. End it with return: what it prints, no one can check."
        )
    return _attempted(result)


def described(value: Any) -> str:
    """A value that was not expected, in a few words: its kind, and its shape or itself."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r}"[:60]


def ask(
    name: str,
    *,
    cases: Callable[[], Iterable[tuple[Any, ...]]],
    right: Callable[..., Any],
    mistakes: Mistakes,
    otherwise: str,
    case: str,
    near: float = 1e-6,
    shape_hint: Callable[..., str] = lambda *_: "",
    stops: Mapping[str, str] | None = None,
) -> None:
    """Register an exercise that asks for a function whose value is a number or a tensor.

    Args:
        name: of the exercise.
        cases: the arguments to try, one tuple a case.
        right: the function that is asked for.
        mistakes: what each usual mistake computes, and its hint. The first that gives the student's value is told.
        otherwise: the hint for any other wrong value.
        case: what was asked and what came, a format with the arguments {0}, {1}, …, {right}, {got} and, how far
            apart they are, {off}.
        near: largest difference that counts as none, relative to values above 1.
        shape_hint: (got, right, *arguments) to a hint, where a tensor has the wrong shape.
        stops: words in an error's message to what they mean here.
    """

    def judge(answer: Any) -> str | None:
        for arguments in cases():
            given = copy.deepcopy(arguments)
            try:
                got = call(answer, *given)
            except StoppedError as error:
                meaning = [meant for words, meant in (stops or {}).items() if words in str(error)]
                raise StoppedError(" ".join([f"{error}".rstrip(".") + ".", *meaning])) from error
            if not all(map(_unchanged, given, arguments)):
                return "Your function changes what it was given: write x = x + …, not x += …"
            expected = torch.as_tensor(right(*arguments))
            found = _converted(got, expected)
            if found is None:
                kind = f"A tensor {tuple(expected.shape)}" if expected.dim() else "One number"
                hint = shape_hint(got, expected, *arguments)
                return f"{kind} is expected, your function returned {described(got)}. {hint}".rstrip()
            if not _near(found, expected, near):
                off = (found - expected).abs().max().item()
                shown = {"right": expected.item(), "got": found.item()} if not expected.dim() else {}
                asked = case.format(*arguments, off=off, **shown)
                return f"{asked} {_hint(found, arguments, mistakes, otherwise, near)}"
        return None

    exercise(name)(judge)


def up_to_one(mistakes: Mistakes) -> Mistakes:
    """Each mistake as it is, and cut off at 1."""
    cut = [(lambda *given, made=made: min(1.0, made(*given)), hint) for made, hint in mistakes]
    return [one for pair in zip(mistakes, cut, strict=True) for one in pair]


def _hint(found: Tensor, arguments: tuple[Any, ...], mistakes: Mistakes, otherwise: str, near: float) -> str:
    for mistake, hint in mistakes:
        value = mistake(*arguments)
        if value is not None and _near(found, torch.as_tensor(value), near):
            return hint
    return otherwise


def _near(found: Tensor, expected: Tensor, near: float) -> bool:
    size = max(1.0, expected.abs().max().item())
    return found.shape == expected.shape and bool((found - expected).abs().max() <= near * size)


def _converted(got: Any, expected: Tensor) -> Tensor | None:
    """The answer as a tensor of the expected shape, in float64; None when it is no such thing."""
    if expected.dim():
        same = isinstance(got, Tensor) and got.shape == expected.shape
        return got.detach().double() if same else None
    try:
        return torch.tensor(float(got), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def _unchanged(given: Any, before: Any) -> bool:
    if isinstance(before, Tensor):
        return torch.equal(given, before)
    return bool(np.array_equal(given, before)) if isinstance(before, np.ndarray) else True


def _attempted(answer: Any) -> Any:
    if answer is None or answer is ...:
        raise NotAttemptedError
    return answer
