"""What a person reads while a training runs: one line for losses, a small table for scores, no bar in a log file."""

from __future__ import annotations

import pytest

from otsr.training import progress
from otsr.training.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (48.4, "48 s"),
        (89, "89 s"),
        (90, "2 min"),
        (12 * 60 + 3, "12 min"),
        (3570, "1 h 00 min"),
        (3 * 3600 + 5 * 60, "3 h 05 min"),
        (52 * 3600, "2 d 4 h"),
    ],
)
def test_a_duration_has_two_parts_at_most(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_tells_losses_rate_pace_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    shown = Progress("run", 1000, 2000, shown=True)
    now[0] += 50
    shown.pause(30)  # a validation
    shown.numbers(1010, {"pixel": 0.01234567, "gan": 3.0}, 1e-4)
    shown.close()
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines == ["step 1,010/2,000  pixel 0.01235  gan 3  rate 0.0001  2 s/step  33 min left"]
    assert shown.pace == 2.0


def test_scores_stand_under_their_names_and_the_best_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress("run", 0, 20, shown=True)
    shown.scores(5, {"st_lpips": 0.25, "psnr_y": 24.5}, better=True)
    shown.scores(10, {"st_lpips": 0.3, "psnr_y": 24.0}, better=False)
    shown.close()
    heads, first, _, second = capsys.readouterr().err.rstrip().splitlines()
    assert first.startswith("step  5/20") and first.endswith("  best") and not second.endswith("best")
    # Right-aligned: a name and its number end in the same column.
    assert heads.index("PSNR-Y ↑") + len("PSNR-Y ↑") == first.index("24.50") + len("24.50")
    assert len(heads) == len(first.removesuffix("  best")) == len(second)


def test_nothing_is_written_when_nothing_is_to_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Progress("run", 0, 20, shown=False)
    quiet.numbers(5, {"pixel": 1.0}, 1e-4)
    quiet.scores(5, {"psnr_y": 24.5}, better=True)
    quiet.advance()
    quiet.close()
    assert capsys.readouterr() == ("", "")
