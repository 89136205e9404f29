"""The loss terms against what they are by definition: scipy's distances, ramps, finite differences."""

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from otsr.networks.perceptual import backbone
from otsr.training import schema
from otsr.training.losses import Losses, feature_distance, transport_distance, transported_features

ALEX = {"weight": 1.0, "backbone": "alex"}
LAYERS = {"alex": {"conv1": 1.0}, "patches": {"rgb": 1.0}, "details": {"fine": 1.0}}


def random(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two tensors with values in [0, 1]."""
    drawing = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=drawing), torch.rand(shape, generator=drawing)


def losses(**terms: dict[str, object]) -> Losses:
    return Losses(schema.Losses.model_validate(terms))


def transport(**settings: object) -> schema.Transport:
    layers = LAYERS[str(settings.get("backbone", "alex"))]
    return schema.Transport.model_validate({**ALEX, "layers": layers, **settings})


def moved(x: Tensor, y: Tensor, crop: int, **settings: object) -> Tensor:
    """The transport between features."""
    return transport_distance({"conv1": x}, {"conv1": y}, transport(**settings), crop)


def plain(x: Tensor, y: Tensor, weight: float = 1.0) -> Tensor:
    """Their distance place by place."""
    return feature_distance({"conv1": x}, {"conv1": y}, {"conv1": weight})


def test_the_pixel_term_is_the_weighted_mean_absolute_difference_and_others_are_not_built() -> None:
    sr, hr = random(2, 3, 32, 32)
    built = losses(pixel={"weight": 0.01})
    assert len(built.backbones) == 0
    ((name, term),) = built(sr, hr).items()
    assert name == "pixel" and float(term) == pytest.approx(0.01 * float((sr - hr).abs().mean()))


@pytest.mark.parametrize("term", ["edge", "perceptual", "transport"])
def test_terms_and_layers_count_as_much_as_their_weights_say(term: str) -> None:
    def value(weight: float, layer: float) -> float:
        features = {"backbone": "alex", "layers": {"conv1": layer}} if term != "edge" else {}
        return float(losses(**{term: {"weight": weight, **features}})(*random(2, 3, 32, 32))[term])

    assert value(3, 1) == pytest.approx(3 * value(1, 1), rel=1e-5)
    assert term == "edge" or value(1, 2) == pytest.approx(2 * value(1, 1), rel=1e-5)


def test_a_backbone_that_two_terms_use_runs_once_a_picture_and_only_sr_takes_a_gradient() -> None:
    built, calls = losses(perceptual=ALEX, transport=ALEX), []
    built.backbones["alex"].register_forward_hook(lambda *_: calls.append(1))
    sr, hr = (picture.requires_grad_() for picture in random(2, 3, 32, 32))
    terms = built(sr, hr)
    assert len(calls) == 2 and set(terms) == {"perceptual", "transport"}
    sum(terms.values()).backward()
    assert sr.grad is not None and float(sr.grad.abs().sum()) > 0 and hr.grad is None


def test_feature_distance_is_relative_to_the_size_of_the_features() -> None:
    x, y = random(2, 5, 4, 4)
    expected = 2 * (x - y).abs().mean() / y.abs().mean()
    torch.testing.assert_close(plain(x, y, 2.0), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(plain(7 * x, 7 * y, 2.0), expected)


@pytest.mark.parametrize("power", [1, 2])
def test_transport_is_that_of_sorted_values_channel_by_channel_relative_to_the_size_of_the_features(
    power: int,
) -> None:
    x, y = random(2, 3, 6, 6)
    found = moved(x, y, 24, power=power)
    torch.testing.assert_close(found, moved(7 * x, 7 * y, 24, power=power))
    apart = {  # of two samples on the line
        1: scipy.stats.wasserstein_distance,
        2: lambda a, b: float((a.sort().values - b.sort().values).square().mean()),
    }
    pairs = zip(x.flatten(2).flatten(0, 1), y.flatten(2).flatten(0, 1), strict=True)
    expected = [apart[power](a, b) for a, b in pairs]
    assert float(found * y.abs().mean() ** power) == pytest.approx(sum(expected) / 6, rel=1e-5)


def test_transport_does_not_change_when_features_of_one_window_change_places() -> None:
    x, y = random(1, 3, 8, 8)
    elsewhere = x.flatten(2)[..., torch.randperm(64, generator=torch.Generator().manual_seed(1))].view_as(x)
    torch.testing.assert_close(moved(x, y, 32), moved(elsewhere, y, 32))
    here, there = (float(moved(features, y, 32, window=8)) for features in (x, elsewhere))
    assert here != pytest.approx(there, rel=1e-3)
    torch.testing.assert_close(moved(x, y, 32, window=4), plain(x, y))  # a window of one feature


@pytest.mark.parametrize("kind", ["projected", "sliced"])
@pytest.mark.parametrize("power", [1, 2])
def test_the_gradient_of_transport_is_that_of_finite_differences(kind: str, power: int) -> None:
    x, y = torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(6))
    x.requires_grad_()
    term = transport(kind=kind, power=power, window=8, projections=5)

    def distance(features: Tensor) -> Tensor:
        along = [transported_features(nn.Identity(), f, term, 0, {"conv1": f}) for f in (features, y)]
        return transport_distance(*along, term, 16)

    (gradient,) = torch.autograd.grad(distance(x), x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    step = 1e-3  # with these pictures no two features change places on the way
    with torch.no_grad():
        change = (distance(x + step * direction) - distance(x - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(change), rel=0.01)


def test_random_directions_belong_to_the_step() -> None:
    x, _ = random(1, 4, 4, 4)
    term = transport(kind="sliced", projections=3)
    first, again, other = (
        transported_features(nn.Identity(), x, term, step, {"conv1": x})["conv1"] for step in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)


@pytest.mark.parametrize("space", ["patches", "details"])
def test_patches_along_directions_are_unfolded_patches_times_directions(space: str) -> None:
    picture, network = random(2, 3, 20, 24)[0], backbone(space)
    term = transport(kind="sliced", projections=5, backbone=space)
    along = transported_features(network, picture, term, 3)
    unfolded = transported_features(nn.Identity(), picture, term, 3, network(picture))
    assert along.keys() == unfolded.keys()
    for layer, values in along.items():
        torch.testing.assert_close(values, unfolded[layer], rtol=1e-4, atol=1e-5)


def test_half_precision_features_are_compared_in_single() -> None:
    x, y = (features.bfloat16() for features in random(1, 4, 8, 8))
    assert plain(x, y).dtype == moved(x, y, 32).dtype == torch.float32


def test_nan_is_not_hidden() -> None:
    sr, hr = random(2, 3, 32, 32)
    sr[0, 0, 0, 0] = float("nan")
    built = losses(pixel={"weight": 1.0}, edge={"weight": 1.0}, transport=ALEX)
    assert not any(bool(torch.isfinite(value)) for value in built(sr, hr).values())
