"""ST-LPIPS's network computes what its authors' does, has gradients, and says what is wrong with its file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from otsr import datasets
from otsr.images import read, resize
from otsr.networks import features
from otsr.networks.features import AlexFeatures, ShiftTolerantLPIPS, halve

# Distances computed once by stlpips_pytorch 0.0.2 with its own code and its fp32 weights, on `pair(name)`.
REFERENCE = {
    "same scene a pixel to the right": 0.00499779,
    "shrunk and enlarged": 0.597746,
    "noise": 0.264979,
    "faint noise": 0.000351123,
    "darker": 0.030378,
    "another scene": 0.683947,
}


def pair(name: str) -> tuple[Tensor, Tensor]:
    """Two crops, derived from vendored photos in a way that any machine repeats."""
    photo, cow = (read(datasets.data_dir() / "photos" / f"{name}.webp") for name in ("colosseum", "cow"))
    crop = photo[:, 201:362, 300:500]
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(crop.shape)).float()
    other = {
        "same scene a pixel to the right": photo[:, 201:362, 301:501],
        "shrunk and enlarged": resize(resize(crop, 0.25), 4, (161, 200)).clamp(0, 1),
        "noise": (crop + 0.1 * noise).clamp(0, 1),
        "faint noise": (crop + 0.01 * noise).clamp(0, 1),
        "darker": 0.8 * crop,
        "another scene": cow[:, 100:261, 400:600],
    }
    return crop, other[name]


@pytest.fixture(scope="module")
def network() -> ShiftTolerantLPIPS:
    return ShiftTolerantLPIPS.pretrained()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", REFERENCE)
def test_distances_are_those_of_the_authors_code(network: ShiftTolerantLPIPS, name: str) -> None:
    sr, hr = pair(name)
    assert network(sr[None], hr[None]).item() == pytest.approx(REFERENCE[name], rel=1e-3)


@pytest.mark.parametrize(("height", "width"), [(21, 24), (22, 21), (33, 35), (48, 50)])
def test_the_first_layer_in_one_step_equals_convolution_then_blur(height: int, width: int) -> None:
    alex, x = AlexFeatures().double(), noise(2, 3, height, width).double()
    torch.testing.assert_close(alex._halved_conv1(x), halve(alex.conv1(x)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("border", [1, 2])
def test_repeatable_borders_are_the_same(monkeypatch: pytest.MonkeyPatch, border: int) -> None:
    x, found = noise(2, 3, 7, 10).double().requires_grad_(), []
    for repeatable in (False, True):
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda on=repeatable: on)
        halved = halve(x, border)
        found.append((halved, *torch.autograd.grad(halved.pow(3).sum(), x)))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-12, atol=1e-14)


def test_layers_have_names_channels_sizes_and_no_negative_values(network: ShiftTolerantLPIPS) -> None:
    layers = network.features(noise(2, 3, 64, 81))
    assert {name: value.shape[1] for name, value in layers.items()} == AlexFeatures.channels
    sizes = [tuple(value.shape[-2:]) for value in layers.values()]
    assert sizes == [(30, 39), (15, 20), (8, 10), (8, 10), (8, 10)]
    assert all(value.min() >= 0 and value.max() > 0 for value in layers.values())


def test_a_sample_does_not_depend_on_its_neighbours_in_the_batch(network: ShiftTolerantLPIPS) -> None:
    sr, hr = noise(3, 3, 32, 40), noise(3, 3, 32, 40, seed=1)
    alone = torch.cat([network(x[None], y[None]) for x, y in zip(sr, hr, strict=True)])
    torch.testing.assert_close(network(sr, hr), alone)
    assert network(sr, sr).tolist() == [0, 0, 0]
    assert not network.training and not any(value.requires_grad for value in network.parameters())


def test_distance_and_gradient_are_finite_where_no_feature_answers() -> None:
    network = ShiftTolerantLPIPS.pretrained()
    network.features.conv5.bias.fill_(-1000)  # conv5 is 0 everywhere: no direction to take
    sr = noise(1, 3, 32, 32).requires_grad_()
    distance = network(sr, noise(1, 3, 32, 32, seed=1)).sum()
    (gradient,) = torch.autograd.grad(distance, sr)
    assert distance.isfinite() and gradient.isfinite().all() and gradient.abs().max() > 0


def test_the_file_is_half_precision_and_names_its_origin() -> None:
    (row,) = (row for row in datasets.sources("weights") if row["file"].startswith("st_lpips"))
    with safe_open(datasets.data_dir() / "weights" / row["file"], "pt") as file:
        about = json.loads(file.metadata()["about"])
        assert file.get_tensor("features.conv1.weight").dtype == torch.float16
    assert about["sha256_of_source"] in row["source"] and row["licence"] in about["licence"]


def test_a_bad_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "weights" / "st_lpips_alex.safetensors", save({"weight": torch.zeros(3)})
    path.parent.mkdir()
    monkeypatch.setattr(features, "data_dir", lambda: tmp_path)
    for content in (None, other, other[:-4]):  # missing, of another network, truncated
        if content:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"st_lpips_alex\.safetensors: missing, damaged, or not ST-LPIPS"):
            ShiftTolerantLPIPS.pretrained()
