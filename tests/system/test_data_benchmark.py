"""The benchmark of data loading measures what it says: the original's pairs fit, and ours is 100 times as fast."""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from otsr.training.sources import pack

BENCHMARK = "data_loading"


@pytest.mark.slow
def test_crops_from_stores_come_100_times_as_fast_as_from_a_folder_of_pngs(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    benchmark.make_photos(tmp_path, 2, 1356, 2040)
    for kind in ("hr", "lr"):
        pack([tmp_path / kind], tmp_path / f"{kind}.lmdb", progress=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ways = {
        "original": benchmark.original_from_folder(tmp_path),
        "ours": benchmark.batches_of(benchmark.recipe(tmp_path, lr=str(tmp_path / "lr.lmdb"))),
    }
    found = benchmark.speeds(ways, 3, 0.5)
    torch.set_num_threads(threads)
    assert statistics.median(found["ours"]) > 100 * statistics.median(found["original"])
    assert benchmark.speed_table(found).count("\n") == 3


def test_the_originals_pairs_fit_each_other(benchmark: ModuleType) -> None:
    small = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    large = small.repeat(4, 0).repeat(4, 1)
    for seed in range(10):
        hr, lr = benchmark.original_crop(large, small, random.Random(seed))
        assert torch.equal(hr, lr.repeat_interleave(4, 1).repeat_interleave(4, 2))
        assert hr.shape == (3, 128, 128)
