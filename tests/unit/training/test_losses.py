"""The loss terms against what they are by definition: scipy's distances, ramps, finite differences."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from otsr.networks.perceptual import backbone
from otsr.training import schema
from otsr.training.losses import Losses, feature_distance, transport_distance, transported_features


def pictures(count: int = 2, side: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=generator), torch.rand(
        count, 3, side, side, generator=generator
    )


LAYERS = {"alex": {"conv1": 1.0}, "patches": {"rgb": 1.0}, "details": {"fine": 1.0}}


def transport(**settings: object) -> schema.Transport:
    return schema.Transport.model_validate(
        {"weight": 1.0, "backbone": "alex", "layers": LAYERS[str(settings.get("backbone", "alex"))]}
        | settings
    )


def test_terms_of_weight_zero_are_not_built() -> None:
    built = Losses(schema.Losses.model_validate({"pixel": {"weight": 1.0}}))
    assert len(built.backbones) == 0
    assert list(built(*pictures())) == ["pixel"]


def test_pixel_term_is_the_weighted_mean_absolute_difference() -> None:
    sr, hr = pictures()
    terms = Losses(schema.Losses.model_validate({"pixel": {"weight": 0.01}}))(sr, hr)
    assert float(terms["pixel"]) == pytest.approx(0.01 * float((sr - hr).abs().mean()))


@pytest.mark.parametrize("term", ["edge", "perceptual", "transport"])
def test_terms_and_layers_count_as_much_as_their_weights_say(term: str) -> None:
    def value(weight: float, layer: float) -> float:
        features = {"backbone": "alex", "layers": {"conv1": layer}} if term != "edge" else {}
        built = Losses(schema.Losses.model_validate({term: {"weight": weight, **features}}))
        return float(built(*pictures())[term])

    assert value(3, 1) == pytest.approx(3 * value(1, 1), rel=1e-5)
    assert term == "edge" or value(1, 2) == pytest.approx(2 * value(1, 1), rel=1e-5)


def test_a_backbone_that_two_terms_use_runs_once_a_picture() -> None:
    built = Losses(
        schema.Losses.model_validate(
            {
                "perceptual": {"weight": 1.0, "backbone": "alex"},
                "transport": {"weight": 1.0, "backbone": "alex"},
            }
        )
    )
    calls = []
    built.backbones["alex"].register_forward_hook(lambda *_: calls.append(1))
    terms = built(*pictures())
    assert len(calls) == 2
    assert set(terms) == {"perceptual", "transport"}


def test_only_sr_takes_a_gradient() -> None:
    sr, hr = pictures()
    sr.requires_grad_()
    hr.requires_grad_()
    built = Losses(schema.Losses.model_validate({"perceptual": {"weight": 1.0, "backbone": "alex"}}))
    sum(built(sr, hr).values()).backward()
    assert sr.grad is not None and float(sr.grad.abs().sum()) > 0
    assert hr.grad is None


def test_feature_distance_is_relative_to_the_size_of_the_features() -> None:
    x, y = torch.rand(2, 5, 4, 4), torch.rand(2, 5, 4, 4)
    once = feature_distance({"a": x}, {"a": y}, {"a": 2.0})
    assert float(once) == pytest.approx(2 * float((x - y).abs().mean() / y.abs().mean()), rel=1e-5)
    torch.testing.assert_close(feature_distance({"a": 7 * x}, {"a": 7 * y}, {"a": 2.0}), once)


def test_transport_over_the_whole_crop_is_scipys_distance_channel_by_channel() -> None:
    x, y = torch.rand(2, 3, 6, 6), torch.rand(2, 3, 6, 6)
    expected = [
        scipy.stats.wasserstein_distance(a.flatten(), b.flatten())
        for image_x, image_y in zip(x, y, strict=True)
        for a, b in zip(image_x, image_y, strict=True)
    ]
    found = transport_distance({"conv1": x}, {"conv1": y}, transport(), 24)
    assert float(found * y.abs().mean()) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_transport_does_not_change_when_places_are_exchanged_and_features_do() -> None:
    x, y = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    moved = x.flatten(2)[..., torch.randperm(64)].view_as(x)
    whole = [transport_distance({"conv1": f}, {"conv1": y}, transport(), 32) for f in (x, moved)]
    torch.testing.assert_close(*whole)
    windows = [transport_distance({"conv1": f}, {"conv1": y}, transport(window=8), 32) for f in (x, moved)]
    assert float(windows[0]) != pytest.approx(float(windows[1]), rel=1e-3)


@pytest.mark.parametrize("power", [1, 2])
def test_transport_is_relative_to_the_size_of_the_features_in_both_powers(power: int) -> None:
    x, y = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    once, seven = (
        transport_distance({"conv1": n * x}, {"conv1": n * y}, transport(power=power), 32) for n in (1, 7)
    )
    torch.testing.assert_close(once, seven)


def test_a_window_of_one_feature_is_the_plain_feature_distance() -> None:
    x, y = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    found = transport_distance({"conv1": x}, {"conv1": y}, transport(window=4), 32)
    torch.testing.assert_close(found, feature_distance({"conv1": x}, {"conv1": y}, {"conv1": 1.0}))


def test_a_larger_window_forgives_more() -> None:
    x, y = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    distances = [
        float(transport_distance({"conv1": x}, {"conv1": y}, transport(window=window), 64))
        for window in (4, 8, 16, 32, 64)
    ]
    assert distances == sorted(distances, reverse=True)


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
    x = torch.rand(1, 4, 4, 4)
    term = transport(kind="sliced", projections=3)
    first, again, other = (
        transported_features(nn.Identity(), x, term, step, {"conv1": x})["conv1"] for step in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)


@pytest.mark.parametrize("space", ["patches", "details"])
def test_patches_along_directions_are_unfolded_patches_times_directions(space: str) -> None:
    picture, network = torch.rand(2, 3, 20, 24), backbone(space)
    term = transport(kind="sliced", projections=5, backbone=space)
    along = transported_features(network, picture, term, 3)
    unfolded = transported_features(nn.Identity(), picture, term, 3, network(picture))
    assert along.keys() == unfolded.keys()
    for layer, values in along.items():
        torch.testing.assert_close(values, unfolded[layer], rtol=1e-4, atol=1e-5)


def test_half_precision_features_are_compared_in_single() -> None:
    x, y = torch.rand(1, 4, 8, 8).bfloat16(), torch.rand(1, 4, 8, 8).bfloat16()
    for value in (
        feature_distance({"conv1": x}, {"conv1": y}, {"conv1": 1.0}),
        transport_distance({"conv1": x}, {"conv1": y}, transport(), 32),
    ):
        assert value.dtype == torch.float32


def test_nan_is_not_hidden() -> None:
    sr, hr = pictures()
    sr[0, 0, 0, 0] = float("nan")
    built = Losses(
        schema.Losses.model_validate(
            {
                "pixel": {"weight": 1.0},
                "edge": {"weight": 1.0},
                "transport": {"weight": 1.0, "backbone": "alex"},
            }
        )
    )
    assert all(not bool(torch.isfinite(value)) for value in built(sr, hr).values())
