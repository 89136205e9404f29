"""Ctrl-C and SIGTERM are noted, and done what they ask for when the training has saved."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from otsr.training.interruption import Interruption


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("number", "expected", "status"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_the_first_signal_is_only_noted_and_then_done(
    number: signal.Signals, expected: type[BaseException], status: int | None
) -> None:
    before = handlers()
    with pytest.raises(expected) as raised, Interruption() as interruption:
        assert not interruption.asked
        os.kill(os.getpid(), number)
        assert interruption.asked
        interruption.end()
    assert getattr(raised.value, "code", None) == status
    assert handlers() == before


def test_a_second_ctrl_c_ends_at_once() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
        os.kill(os.getpid(), signal.SIGINT)
    assert reached


def test_sigterm_again_and_again_is_still_only_noted() -> None:
    with Interruption() as interruption:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
    assert interruption.asked


def test_an_error_passes_and_the_handlers_are_back() -> None:
    before = handlers()
    with pytest.raises(ValueError, match="mine"), Interruption():
        raise ValueError("mine")
    assert handlers() == before


def test_in_another_thread_nothing_is_changed() -> None:
    before, seen = handlers(), []

    def work() -> None:
        with Interruption() as interruption:
            seen.append((handlers(), interruption.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)] and handlers() == before
