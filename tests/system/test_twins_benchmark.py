"""The benchmark of tuned twins trains what its names say, compares with the nearest rival and draws every mixture."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from otsr.evaluation import METRICS, Table
from otsr.training import load_config

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import twins

    return twins


def walked(benchmark: ModuleType, steps: int = 400) -> dict[str, list[dict[str, float]]]:
    """A way of four stops for each mixture; PSNR-Y falls with its place in the list."""
    return {
        mixture.name: [
            {"step": stop * steps / 4, "psnr_y": 24 - 0.1 * number - 0.2 * stop, "st_lpips": 0.4, "niqe": 6.0}
            for stop in range(1, 5)
        ]
        for number, mixture in enumerate(benchmark.MIXTURES)
    }


def test_each_mixture_trains_the_terms_of_its_name(benchmark: ModuleType) -> None:
    arguments = argparse.Namespace(steps=400, backbone="vgg16", quick=False)
    recipes = {}
    for mixture in benchmark.MIXTURES:
        config = load_config(mixture.recipe, benchmark.settings(mixture, arguments))
        losses = config.losses
        assert (losses.perceptual.weight, losses.gan.weight, losses.transport.weight) == (
            mixture.features, mixture.ragan, mixture.transport,
        )  # fmt: skip
        assert (config.critic is not None) == bool(mixture.ragan) and losses.transport.window == 16
        recipes[mixture.name] = config
    assert len(recipes) == len(benchmark.MIXTURES)  # no name twice
    alike = {(c.steps, c.start, c.seed, c.optimiser.lr, c.data.crop, c.ema) for c in recipes.values()}
    assert len(alike) == 1


def test_the_twin_is_the_adversary_of_the_same_fidelity(benchmark: ModuleType) -> None:
    paths = walked(benchmark)
    paths["RaGAN × 0.015"][-1]["psnr_y"] = paths["transport × 0.03"][-1]["psnr_y"] + 0.01
    assert benchmark.chosen(paths) == "RaGAN × 0.015"


@pytest.mark.parametrize("steps", [400, 2])
def test_the_table_has_a_row_for_each_mixture(benchmark: ModuleType, steps: int) -> None:
    paths = walked(benchmark)
    for path in paths.values():
        del path[min(4, steps) :]
    lines = benchmark.path_table(paths, dict.fromkeys(paths, 1.0)).splitlines()
    assert len(lines) == 2 + len(paths) and len({line.count("|") for line in lines}) == 1
    assert "| step 100 | step 200 |" in lines[0]


def test_every_mixture_is_on_both_planes(benchmark: ModuleType) -> None:
    paths = walked(benchmark)
    values = {name: {m.key: np.ones((3, 1)) for m in METRICS} for name in paths}
    figure = benchmark.draw(paths, Table(values, ("a", "b", "c"), (), (), {}))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{number}  {name}" for number, name in enumerate(paths, 1)
    ]
    for axes in figure.axes:
        numbers = {text.get_text() for text in axes.texts}
        assert {str(number) for number in range(1, len(paths) + 1)} <= numbers
