"""The benchmarks of kernel estimation run, and their claims hold: on a few val photos, and in the stored table."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from otsr.datasets import photos

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_ours_has_a_smaller_error_than_the_best_isotropic_gaussian(tmp_path: Path) -> None:
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


def test_a_cautious_filter_loses_no_more_with_ours_than_with_the_bicubic_kernel() -> None:
    records = json.loads((FOLDER / "results" / "kernel_families.json").read_text())
    lost: dict[str, dict[str, float]] = {"ours": {}, "bicubic": {}}
    for method, rows in lost.items():
        for name in {(record["family"], record["scale"]) for record in records}:
            chosen = [r for r in records if (r["family"], r["scale"], r["method"]) == (*name, method)]
            rows[f"{name[0]} x{name[1]}"] = statistics.mean(record["cautious"] for record in chosen)
    for name, value in lost["ours"].items():
        assert value < lost["bicubic"][name] + 0.05 or name.startswith("bicubic"), name


def test_the_true_kernel_loses_nothing_and_a_wrong_one_less_under_caution() -> None:
    import kernel_families as benchmark

    case = benchmark.case("motion", 2, 0, photos("val"))
    records = benchmark.measure(case, ["ours", "bicubic"], iterations=0)
    assert [record["method"] for record in records] == ["ours", "bicubic"]
    assert all(record["cautious"] > 0 and record["again"] > 0 for record in records)
    (plain, cautious), (wrong, doubted) = benchmark.wiener(case, [case.kernel, case.kernel.mT]).T.tolist()
    assert plain > wrong and cautious > doubted > wrong
    assert "| motion ×2 |" in benchmark.table(records)
