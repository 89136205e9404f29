"""How exercises answer: `check` asks one of the registered checks; `ask` makes most of them from tables."""

import copy
import dis
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHECKS: dict[str, Callable[[Any], str | None]] = {}
"""Of each exercise, by name: a function from an answer to what is wrong with it, None if it is right."""

_IN_STUBS = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


class NotAttemptedError(Exception):
    """The stub is still as it was."""


class StoppedError(Exception):
    """The student's function raised an error, or returned the wrong kind of thing; the message says which."""


def check(name: str, answer: Any) -> None:
    """Print whether `answer`, a value or a function, solves the exercise `name`, and if not, what is wrong with it.

    Raises:
        KeyError: no such exercise.
    """
    if name not in CHECKS:
        raise KeyError(f"no exercise {name!r}; there are: {', '.join(sorted(CHECKS))}")
    try:
        fault = CHECKS[name](_attempted(answer))
    except NotAttemptedError:
        print(f"{name}: not attempted yet")
    except StoppedError as error:
        print(f"{name}: not yet. {error}")
    else:
        print(f"{name}: correct" if fault is None else f"{name}: not yet. {fault}")


def call(function: Any, *arguments: Any, stops: Mapping[str, str] | None = None) -> Any:
    """What the student's function returns; `stops` says what words in an error's message mean here.

    Raises:
        NotAttemptedError: it is still a stub.
        StoppedError: it is no function, it raised an error, or it returns nothing though it does something.
    """
    if not callable(function):
        raise StoppedError(f"A function is expected, not {described(function)}: give its name alone, without ( ).")
    try:
        result = function(*arguments)
    except StoppedError:
        raise
    except Exception as error:
        meant = [meaning for words, meaning in (stops or {}).items() if words in str(error)]
        what = f"Your function stopped with {type(error).__name__}: {error}"
        raise StoppedError(" ".join([what.rstrip(".") + ".", *meant])) from error
    if result is None and does_something(function):
        raise StoppedError("Your function returns nothing. End it with return: no one can check what it prints.")
    return _attempted(result)


def does_something(function: Any) -> bool:
    """Whether it has any instruction but those of a stub: return None."""
    code = getattr(function, "__code__", None)
    return code is not None and any(step.opname not in _IN_STUBS for step in dis.get_instructions(code))


def described(value: Any) -> str:
    """A value that was not expected, in a few words: its kind, and its shape or itself."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} {tuple(value.shape)}"
    return f"{type(value).__name__} {' '.join(repr(value).split())}"[:60]


def ask(
    name: str,
    *,
    cases: Callable[[], Sequence[tuple[Any, ...]]],
    right: Callable[..., Any],
    mistakes: Callable[..., Sequence[tuple[Any, ...]]],
    otherwise: str,
    case: str,
    shape_hint: Callable[..., str] = lambda *_: "",
    stops: Mapping[str, str] | None = None,
) -> None:
    """Register an exercise that asks for a function whose value is a number or a tensor.

    Args:
        name: of the exercise.
        cases: makes the arguments to try, one tuple a case; each check draws them anew, `make grade` from other seeds.
        right: the function that is asked for, of a case's arguments.
        mistakes: the same arguments to rows: what a usual mistake computes, one value or more, and its hint. The
            first row that holds the student's value is told.
        otherwise: the hint for any other wrong value.
        case: what was asked and what came, a format with the arguments {0}, {1}, …, {right}, {got} and, how far
            apart they are, {off}.
        shape_hint: (got, right, *arguments) to a hint, where an array has the right number of axes and the wrong
            shape, or stands in place of a number.
        stops: as in `call`.
    """

    def judge(answer: Any) -> str | None:
        for arguments in cases():
            given = copy.deepcopy(arguments)
            got = call(answer, *given, stops=stops)
            if not all(map(_unchanged, given, arguments)):
                return "Your function changes what it was given, as x += … and x.sort() do; write x + … or np.sort(x)."
            expected = torch.as_tensor(right(*arguments))
            found = _converted(got, expected)
            if found is None:
                kind = f"A tensor {tuple(expected.shape)}" if expected.dim() else "One number"
                ranked = isinstance(got, Tensor | np.ndarray) and expected.dim() in (0, got.ndim)
                hint = shape_hint(got, expected, *arguments) if ranked else ""
                return f"{kind} is expected, your function returned {described(got)}. {hint}".rstrip()
            if not _near(found, expected):
                off = (found - expected).abs().max().item()
                shown = {} if expected.dim() else {"right": expected.item(), "got": found.item()}
                rows = mistakes(*arguments)
                made = (hint for *values, hint in rows if any(_near(found, value) for value in values))
                return f"{case.format(*arguments, off=off, **shown)} {next(made, otherwise)}"
        return None

    CHECKS[name] = judge


def _near(found: Tensor, value: Any) -> bool:
    """Whether they differ by no more than rounding and other roads to the same number may."""
    expected = torch.as_tensor(value)
    size = max(1.0, expected.abs().max().item())
    return found.shape == expected.shape and bool((found - expected).abs().max() <= 1e-4 * size)


def _converted(got: Any, expected: Tensor) -> Tensor | None:
    """The answer in float64, if it has the shape of what is expected; any lone number fits where one is."""
    try:
        found = torch.as_tensor(got).detach()
    except (TypeError, ValueError, RuntimeError):
        return None
    if found.numel() == 1 and not expected.dim():
        found = found.reshape(())
    return found.double() if found.shape == expected.shape else None


def _unchanged(given: Any, before: Any) -> bool:
    if isinstance(before, Tensor):
        return torch.equal(given, before)
    return bool(np.array_equal(given, before)) if isinstance(before, np.ndarray) else True


def _attempted(answer: Any) -> Any:
    if answer is None or answer is ...:
        raise NotAttemptedError
    return answer
