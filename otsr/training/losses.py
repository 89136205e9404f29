"""The terms of the generator's loss that need no critic. Each compares SR with HR, float32 pictures in [0, 1].

pixel        mean |sr − hr|                                            fidelity
perceptual   mean |φ(sr) − φ(hr)|, φ a trained network's features      what is seen, place by place
edge         mean |∇ sr − ∇ hr|                                        contours
transport    W(φ(sr), φ(hr)), features of a window as a distribution   what is seen, wherever it is in the window
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from otsr.images import luma
from otsr.networks.perceptual import DEFAULT_LAYERS, Patches, backbone
from otsr.training import schema as config
from otsr.transport.sliced import unit_directions, wasserstein_1d

Features = dict[str, Tensor]
Average = Callable[[Tensor], Tensor]  # a number's mean over the processes that share a batch


def alone(number: Tensor) -> Tensor:
    """The `Average` of one process."""
    return number


class Losses(nn.Module):
    """All terms of a recipe whose weight is not 0. Raises BackboneError: a backbone cannot be had.

    The sizes of features are averaged over processes, so that the mean of a term is that of the whole batch.
    """

    def __init__(self, losses: config.Losses, average: Average = alone) -> None:
        super().__init__()
        self.config, self.average = losses, average
        layers: dict[str, dict[str, float]] = {}
        for term in (losses.perceptual, losses.transport):
            if term.weight:
                layers.setdefault(term.backbone, {}).update(layer_weights(term))
        self.backbones = nn.ModuleDict({name: backbone(name, tuple(those)) for name, those in layers.items()})

    def forward(self, sr: Tensor, hr: Tensor, step: int = 0) -> dict[str, Tensor]:
        """The terms by name, each times its weight, of sr and hr (B, 3, H, W); `step` draws directions."""
        losses, terms = self.config, dict[str, Tensor]()
        # Each network runs once a picture, however many terms use it. No gradient flows into HR, the goal.
        of_sr, moved_sr = self._features(sr, step)
        with torch.no_grad():
            of_hr, moved_hr = self._features(hr, step)
        with torch.autocast(sr.device.type, enabled=False):
            sr, hr = sr.float(), hr.float()
            if losses.pixel.weight:
                terms["pixel"] = (sr - hr).abs().mean()
            if losses.perceptual.weight:
                name, weights = losses.perceptual.backbone, layer_weights(losses.perceptual)
                terms["perceptual"] = feature_distance(of_sr[name], of_hr[name], weights, self.average)
            if losses.edge.weight:
                terms["edge"] = edge_distance(sr, hr)
            if losses.transport.weight:
                moved = (moved_sr, moved_hr, losses.transport, hr.shape[-1])
                terms["transport"] = transport_distance(*moved, self.average)
            return {name: getattr(losses, name).weight * term for name, term in terms.items()}

    def _features(self, picture: Tensor, step: int) -> tuple[dict[str, Features], Features]:
        """Of each network, and what the transport term compares."""
        term = self.config.transport
        found = {n: net(picture) for n, net in self.backbones.items() if not isinstance(net, Patches)}
        if not term.weight:
            return found, {}
        network, features = self.backbones[term.backbone], found.get(term.backbone)
        return found, transported_features(network, picture, term, step, features)


def layer_weights(term: config.Perceptual | config.Transport) -> dict[str, float]:
    """The layers of a term and their weights: as the recipe says, or the backbone's own."""
    return dict(term.layers) if term.layers is not None else DEFAULT_LAYERS[term.backbone]


def feature_distance(sr: Features, hr: Features, weights: dict[str, float], average: Average = alone) -> Tensor:
    """Σ_layers w · mean |φ(sr) − φ(hr)| / mean |φ(hr)|: relative to the features' size, so that layers count alike."""
    total = torch.zeros((), device=next(iter(sr.values())).device)
    for layer, weight in weights.items():
        x, y = sr[layer].float(), hr[layer].float()
        total = total + weight * (x - y).abs().mean() / _size(y, average)
    return total


def transported_features(
    network: nn.Module, picture: Tensor, term: config.Transport, step: int = 0, found: Features | None = None
) -> Features:
    """What `transport_distance` compares: features, or for `sliced` their values along directions of channel space.

    Of a picture (B, 3, H, W); the step draws the directions; `found` are the network's features, if known already.
    """

    def directions(channels: int) -> Tensor:
        return unit_directions(term.projections, channels, torch.Generator().manual_seed(step))

    if term.kind == "sliced" and isinstance(network, Patches):
        return network.project(picture, directions(3 * Patches.size**2))
    features = network(picture) if found is None else found
    if term.kind != "sliced":
        return features
    along = {layer: directions(f.shape[1]).to(f.device, non_blocking=True) for layer, f in features.items()}
    return {layer: torch.einsum("bchw,kc->bkhw", f.float(), along[layer]) for layer, f in features.items()}


def transport_distance(
    sr: Features, hr: Features, term: config.Transport, crop: int, average: Average = alone
) -> Tensor:
    """Σ_layers w · mean over windows and channels of W_p^p(values in SR's window, values in HR's), scaled by size.

    In each window the values of a channel are a distribution on the line, where transport is sorting: what is in the
    window counts, not where. A window of one feature is the plain feature distance.

    Args:
        sr, hr: of `transported_features`, by layer, (B, C, h, w).
        crop: side of the pictures in pixels.

    Reference: Delbracio et al., "Projected distribution loss", ICCP 2021, arXiv 2012.09289 (whole crops).
    """
    total = torch.zeros((), device=next(iter(sr.values())).device)
    for layer, weight in layer_weights(term).items():
        x, y = sr[layer].float(), hr[layer].float()
        side = x.shape[-1] if term.window is None else max(1, round(term.window * x.shape[-1] / crop))
        distance = wasserstein_1d(tiles(x, side).flatten(2), tiles(y, side).flatten(2), term.power).mean()
        total = total + weight * distance / _size(y, average) ** term.power
    return total


def tiles(maps: Tensor, side: int) -> Tensor:
    """(B·tiles, C, side, side), cut from maps (B, C, h, w); what is left over at the far borders is not used."""
    b, c, h, w = maps.shape
    tall, wide = min(side, h), min(side, w)
    rows, columns = h // tall, w // wide
    cut = maps[..., : rows * tall, : columns * wide].reshape(b, c, rows, tall, columns, wide)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(b * rows * columns, c, tall, wide)


def _size(features: Tensor, average: Average) -> Tensor:
    return average(features.abs().mean()).clamp(min=1e-6)


def edge_distance(sr: Tensor, hr: Tensor) -> Tensor:
    """mean |∇ sr − ∇ hr|."""
    return (sobel(sr) - sobel(hr)).abs().mean()


def sobel(image: Tensor) -> Tensor:
    """(B, 2, H, W): the slope of luma to the right and downwards, per pixel; exact for a ramp, borders repeated."""
    y = F.pad(luma(image), (1, 1, 1, 1), mode="replicate")
    down = (y[..., :-2, :] + 2 * y[..., 1:-1, :] + y[..., 2:, :]) / 4  # smoothed downwards, and to the right
    right = (y[..., :-2] + 2 * y[..., 1:-1] + y[..., 2:]) / 4
    return torch.cat([down[..., 2:] - down[..., :-2], right[..., 2:, :] - right[..., :-2, :]], 1) / 2
