"""On a GPU a training does what it does on the CPU. Everywhere else these tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Tensor

from otsr.inference import Upscaler
from otsr.networks.generators import Compact
from otsr.training import checkpoints, load_config
from otsr.training.adversary import Adversary
from otsr.training.runtime import kernels_restored
from otsr.training.trainer import Trainer, train

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device here: this machine cannot train on a GPU"
)

RECIPE = """\
name: tiny
steps: 4
network: {{name: Compact, nf: 8, nb: 2}}
data: {{hr: {photos}, crop: 32, batch: 4, workers: 0}}
validation: {{hr: {photos}, images: 1}}
losses:
  pixel: {{weight: 1}}
  edge: {{weight: 0.1}}
  transport: {{weight: 0.01, backbone: alex}}
  gan: {{weight: 0.05, kind: wgan-qc, reals: independent}}
critic: {{name: patch, nf: 8, norm: spectral}}
precision: fp32
every: {{validate: 4, checkpoint: 2, log: 2, pictures: 4}}
"""


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """accelerate keeps the device of the first training in the process, torch the kernels of the last."""
    AcceleratorState._reset_state(reset_partial_state=True)
    with kernels_restored():
        yield


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (104, 208, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    (tmp_path / "tiny.yml").write_text(RECIPE.format(photos=tmp_path / "photos"))
    return tmp_path / "tiny.yml"


def after_two_steps(recipe: Path, folder: str, device: str, *settings: str) -> Trainer:
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.MonkeyPatch.context() as patch:
        if device == "cpu":
            patch.setattr(torch.cuda, "is_available", lambda: False)
        trainer = Trainer(load_config(recipe, settings), recipe.parent / folder, False, False, Adversary)
        trainer.close()
        assert trainer.device.type == device
        for trainer.step in range(2):
            trainer.update(trainer.batches.batch(trainer.step))
    return trainer


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().cpu().flatten() for p in trainer.generator.parameters()])


def test_steps_on_cuda_are_those_on_the_cpu(recipe: Path) -> None:
    there, here = (after_two_steps(recipe, device, device) for device in ("cuda", "cpu"))
    assert there.numbers == pytest.approx(here.numbers, rel=1e-3, abs=1e-5)
    # Adam moves each weight by the learning rate at most; rounding may turn the few whose gradient is almost 0.
    assert float((weights(there) - weights(here)).abs().mean()) < 0.05 * 2e-4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_steps_in_half_precision_stay_near_those_in_fp32(recipe: Path, precision: str) -> None:
    if precision == "bf16" and not torch.cuda.is_bf16_supported(False):
        pytest.skip("this GPU has no bf16")
    half = after_two_steps(recipe, "half", "cuda", f"precision={precision}")
    full = after_two_steps(recipe, "full", "cuda")
    assert half.scaler.is_enabled() == (precision == "fp16")
    assert all(parameter.dtype == torch.float32 for parameter in half.generator.parameters())
    for name in ("pixel", "edge", "transport"):
        assert half.numbers[name] == pytest.approx(full.numbers[name], rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_training_that_is_resumed_on_cuda_goes_on_as_it_would_have(recipe: Path, precision: str) -> None:
    """In fp32 to the last bit; fp16 lets cuDNN choose, but the scale of the gradients is kept."""
    settings = [f"precision={precision}"]
    whole, parts = recipe.parent / "whole", recipe.parent / "parts"
    train(load_config(recipe, settings), whole, progress=False)
    train(load_config(recipe, [*settings, "steps=2"]), parts, progress=False)
    train(load_config(recipe, settings), parts, resume=True, progress=False)
    one, other = checkpoints.load(whole), checkpoints.load(parts)
    assert one["scaler"] == other["scaler"]
    for part in ("generator", "average", "critic"):
        for name, value in one[part].items():
            found = other[part][name]
            assert (
                torch.equal(found, value) if precision == "fp32" else torch.allclose(found, value, atol=4e-4)
            )


@pytest.mark.parametrize(("precision", "grey_levels"), [("fp32", 1), ("fp16", 2)])
def test_an_upscaled_picture_is_the_same_on_cuda_and_on_the_cpu(precision: str, grey_levels: int) -> None:
    torch.manual_seed(0)
    network = Compact(nf=16, nb=4)
    picture = np.random.default_rng(1).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    here, there = (
        np.asarray(Upscaler(network, device=device, precision=name, tile=32).upscale(picture)).astype(int)
        for device, name in (("cpu", "fp32"), ("cuda", precision))
    )
    assert here.shape == (280, 360, 3)
    assert np.abs(here - there).max() <= grey_levels
