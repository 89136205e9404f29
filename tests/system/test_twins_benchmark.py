"""The benchmark of tuned twins trains what its names say, compares with the nearest rival and draws every mixture."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from types import ModuleType

import numpy as np

from otsr.evaluation import Table
from otsr.training import load_config

BENCHMARK = "twins"


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
        config = load_config(benchmark.RECIPE, benchmark.settings(mixture, arguments))
        losses = config.losses
        assert (losses.perceptual.weight, losses.gan.weight, losses.transport.weight) == (
            mixture.features, mixture.ragan, mixture.transport + mixture.details,
        )  # fmt: skip
        assert (config.critic is not None) == bool(mixture.ragan)
        assert (losses.transport.backbone, losses.transport.window) == (
            ("details", 32) if mixture.details else ("vgg16", 16)
        )
        recipes[mixture.name] = config
    assert len(recipes) == len(benchmark.MIXTURES)  # no name twice
    alike = {(c.steps, c.start, c.seed, c.optimiser.lr, c.data.crop, c.ema) for c in recipes.values()}
    assert len(alike) == 1


def test_the_twin_is_the_adversary_of_the_same_fidelity(benchmark: ModuleType) -> None:
    paths = walked(benchmark)
    paths["RaGAN × 0.015"][-1]["psnr_y"] = paths["transport × 0.03"][-1]["psnr_y"] + 0.01
    assert benchmark.chosen(paths, "transport × 0.03") == "RaGAN × 0.015"


def test_other_seeds_change_the_seed_and_nothing_else(benchmark: ModuleType) -> None:
    arguments = argparse.Namespace(steps=400, backbone="vgg16", quick=False)
    for mixture in benchmark.REPEATED:
        recipes = [
            load_config(benchmark.RECIPE, benchmark.settings(replace(mixture, seed=seed), arguments))
            for seed in benchmark.SEEDS
        ]
        assert len({recipe.seed for recipe in recipes}) == len(benchmark.SEEDS)
        assert len({recipe.model_copy(update={"seed": 0}).model_dump_json() for recipe in recipes}) == 1


def test_seeds_count_as_draws_of_a_picture(benchmark: ModuleType) -> None:
    repeated = benchmark.REPEATED[:1]
    names = [benchmark.seeded(repeated[0], seed) for seed in benchmark.SEEDS]
    values = {name: {"psnr_y": np.full((2, 1), 20.0 + number)} for number, name in enumerate(names)}
    joined = benchmark.over_seeds(Table(values, ("a", "b"), (), {}), repeated)
    assert joined.rows == [repeated[0].name]
    np.testing.assert_allclose(joined.per_image(repeated[0].name, "psnr_y"), 21)


def test_a_gain_is_against_the_twin_and_marked_when_it_is_decided(benchmark: ModuleType) -> None:
    details = next(mixture.name for mixture in benchmark.MIXTURES if mixture.details)
    ends = {
        "RaGAN × 0.03": [{"psnr_y": 22.0, "st_lpips": 0.3}],
        "RaGAN × 0.06": [{"psnr_y": 20.0, "st_lpips": 0.3}],
        details: [{"psnr_y": 22.1, "st_lpips": 0.3}],
    }
    spread = np.linspace(-0.01, 0.01, 8)[:, None]
    values = {
        "RaGAN × 0.03": {"psnr_y": np.full((8, 1), 22.0), "st_lpips": np.full((8, 1), 0.3)},
        details: {"psnr_y": 22.1 + spread, "st_lpips": 0.3 + spread},
    }
    (line,) = benchmark.gains({"test": Table(values, tuple("abcdefgh"), (), {})}, ends).splitlines()[2:]
    assert re.match(rf"\| {re.escape(details)} − RaGAN × 0.03 \| +\+0.10 \[", line)
    fidelity, likeness = line.split("|")[2:4]
    assert "✓" in fidelity and "✓" not in likeness and "✗" not in likeness
