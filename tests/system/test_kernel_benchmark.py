"""The benchmark of kernel estimation runs, and its claim holds on a few val photos: ours beats the isotropic oracle."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_ours_has_a_smaller_error_than_the_best_isotropic_gaussian(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import kernel_estimation as benchmark

    cases = benchmark.cases(5, split="val")
    assert len({case.name for case in cases}) == 20  # 5 kernels, two scales, two noises
    records = benchmark.measure(cases, ["spectrum", "isotropic"], tmp_path, iterations=0)
    errors = {
        method: statistics.mean(record["l2"] for record in records if record["method"] == method)
        for method in ("spectrum", "isotropic")
    }
    assert errors["spectrum"] < 0.7 * errors["isotropic"]
    report = benchmark.table(records, {"deep": 120.0, "collapsed": 30.0})
    assert report.count("| ours: statistics at several scales |") == 4
    assert "4.0 times faster" in report
