"""On a GPU a training does what it does on the CPU, and repeats it; what a CPU can prove of that, it proves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from small_training import write_recipe
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from otsr.images import resize
from otsr.networks import VGG_BLOCKS, perceptual
from otsr.networks.generators import Compact
from otsr.networks.perceptual import VGG
from otsr.training import checkpoints, load_config
from otsr.training.runtime import Fast, kernels_restored
from otsr.training.trainer import Trainer, train

on_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device here: this machine cannot train on a GPU"
)
RECIPE = """\
name: tiny
steps: 4
network: {name: Compact, nf: 8, nb: 2}
data: {hr: PHOTOS, crop: 32, batch: 4, workers: 0}
validation: {hr: PHOTOS, images: 1}
losses:
  pixel: {weight: 1}
  edge: {weight: 0.1}
  transport: {weight: 0.01, backbone: alex}
  gan: {weight: 0.05, kind: wgan-qc, reals: independent}
critic: {name: patch, nf: 8, norm: spectral}
precision: fp32
every: {validate: 4, checkpoint: 2, log: 2, pictures: 4}
"""


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """accelerate keeps the device of the first training in the process, torch the kernels of the last."""
    AcceleratorState._reset_state(reset_partial_state=True)
    with kernels_restored():
        yield


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, RECIPE, 104, 208)


# --- a step of any recipe uses only operations that CUDA repeats to the last bit, so a resumed training can

# What raises an error on CUDA in the deterministic mode, under the names that PyTorch's dispatcher has for it:
# https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html
UNREPEATABLE = {
    "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "max_unpool2d", "max_unpool3d", "upsample_linear1d_backward", "upsample_bilinear2d_backward",
    "_upsample_bilinear2d_aa_backward", "upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward",
    "upsample_trilinear3d_backward", "reflection_pad1d_backward", "reflection_pad2d_backward",
    "reflection_pad3d_backward", "nll_loss_forward", "nll_loss2d_forward", "_ctc_loss_backward",
    "_embedding_bag_dense_backward", "put", "histc", "bincount", "median", "nanmedian",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "cumsum", "scatter_reduce", "put_",
}  # fmt: skip
FEATURES = "losses.perceptual={{weight: 1, backbone: {}}}".format
TRANSPORT = "losses.transport={{weight: 1, {}}}".format
GAN = "losses.gan={{weight: 1, {}}}".format
SMALL = "network={{name: RRDBNet, nf: 8, nb: 1, gc: 4{}}}".format
RECIPES = {
    "alex, gan": [
        FEATURES("alex"), TRANSPORT("backbone: alex, window: 16"), GAN("kind: gan"),
        "critic={name: vgg, nf: 8, norm: spectral}",
    ],
    "vgg16, ragan": [
        SMALL(""), FEATURES("vgg16"), GAN("kind: ragan"),
        TRANSPORT("backbone: vgg16, kind: sliced, projections: 4, power: 2"),
    ],
    "vgg19, wgan-qc of patches": [
        "scale=2", SMALL(", unshuffle: 2"), FEATURES("vgg19"), TRANSPORT("backbone: details, window: 32"),
        GAN("kind: wgan-qc, space: patches, patch: 32"),
    ],
    "patches, wgan-qc": ["network={name: Compact, nf: 8, nb: 1, base: nearest}", TRANSPORT("backbone: patches")],
}  # fmt: skip


class Seen(TorchDispatchMode):
    """Names of all operations, those of the backward pass as well."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set[str]()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


def operations(recipe: Path, settings: list[str], repeatable: bool) -> set[str]:
    """Of one step."""
    config = load_config(recipe, ["data.crop=64", "data.batch=2", *settings])
    trainer = Trainer(config, recipe.parent / "run")
    batch = trainer.batches.batch(0)
    torch.use_deterministic_algorithms(repeatable)
    with Seen() as seen:
        trainer.update(batch)
    assert "convolution_backward" in seen.names
    return seen.names


@pytest.fixture
def random_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGGs whose weights nobody has to fetch."""

    def weights(name: str) -> dict[str, Tensor]:
        last = "conv5_4" if name == "vgg19" else "relu4_3"
        return VGG(VGG_BLOCKS[name], (last,), shift_tolerant=False).state_dict()

    monkeypatch.setattr(perceptual, "_weights", weights)


@pytest.mark.usefixtures("random_vgg")
@pytest.mark.parametrize("name", RECIPES)
def test_a_step_uses_nothing_that_cuda_cannot_repeat(recipe: Path, name: str) -> None:
    assert not operations(recipe, RECIPES[name], repeatable=True) & UNREPEATABLE


def test_an_operation_that_cuda_cannot_repeat_would_be_seen(recipe: Path) -> None:
    """Where nobody asks for exact sums, borders are mirrored by the faster one that is not repeatable."""
    seen = operations(recipe, RECIPES["alex, gan"], repeatable=False)
    assert seen & UNREPEATABLE == {"reflection_pad2d_backward"}


# --- on a GPU


def after_two_steps(recipe: Path, folder: str, device: str, *settings: str) -> Trainer:
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.MonkeyPatch.context() as patch:
        if device == "cpu":
            patch.setattr(torch.cuda, "is_available", lambda: False)
        trainer = Trainer(load_config(recipe, settings), recipe.parent / folder)
        assert trainer.device.type == device
        for trainer.step in range(2):
            trainer.update(trainer.batches.batch(trainer.step))
    return trainer


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().cpu().flatten() for p in trainer.generator.parameters()])


@on_cuda
def test_steps_on_cuda_are_those_on_the_cpu(recipe: Path) -> None:
    there, here = (after_two_steps(recipe, device, device) for device in ("cuda", "cpu"))
    assert there.numbers == pytest.approx(here.numbers, rel=1e-3, abs=1e-5)
    # Adam moves each weight by the learning rate at most; rounding may turn the few whose gradient is almost 0.
    assert float((weights(there) - weights(here)).abs().mean()) < 0.05 * 2e-4


@on_cuda
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


@on_cuda
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
    rounding = 0 if precision == "fp32" else 4e-4
    for part in ("generator", "average", "critic"):
        for name, value in one[part].items():
            torch.testing.assert_close(other[part][name], value, rtol=0, atol=rounding)


@on_cuda
@pytest.mark.usefixtures("random_vgg")
@pytest.mark.parametrize("backbone", ["details", "vgg16"])
def test_a_step_that_is_not_logged_waits_for_nothing(recipe: Path, backbone: str) -> None:
    """Each wait ends what Python has prepared ahead of the device."""
    terms = [
        FEATURES("vgg16"),
        TRANSPORT(f"backbone: {backbone}, kind: sliced, window: 32"),
        GAN("kind: ragan"),
    ]
    settings = ["precision=bf16", "data.crop=64", *terms]
    trainer = Trainer(load_config(recipe, settings), recipe.parent / "run")
    first, second, third = (trainer.batches.batch(step) for step in range(3))
    for batch in (first, second):
        trainer.update(batch, check=False)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.update(third, check=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_cuda
def test_a_recorded_network_keeps_what_it_reads() -> None:
    """`Compact` enlarges by matrices that `resize` caches for some sizes; the graph reads them where they lay."""
    sample = torch.rand(1, 3, 24, 20, device="cuda")
    network = Compact(nf=8, nb=1, scale=4, base="bicubic").cuda()
    fast = Fast(network, torch.float32, sample, graphs=True)
    before = fast(sample).clone()
    for side in range(8, 48):  # more sizes than are cached
        resize(torch.rand(1, 3, side, side, device="cuda"), 4)
    torch.cuda.empty_cache()
    torch.full((64, 1024, 1024), 7.0, device="cuda")  # written over what was freed
    torch.testing.assert_close(fast(sample), before)
