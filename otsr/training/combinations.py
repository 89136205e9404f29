"""Values of a recipe that are right each for itself and do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from otsr.training.parts import Pruned

if TYPE_CHECKING:
    from otsr.training.config import Config, Losses, Schedule

_VGG = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions in each block


def layer_names(backbone: str) -> list[str]:
    """The layers that a backbone of `otsr.networks.perceptual` has, without loading it (or torch)."""
    if backbone == "alex":
        return [f"conv{i}" for i in range(1, 6)]
    if backbone == "patches":
        return ["rgb"]
    if backbone == "details":
        return ["fine", "coarse"]
    places = [f"{block}_{i}" for block, depth in enumerate(_VGG[backbone], 1) for i in range(1, depth + 1)]
    return [f"{kind}{place}" for place in places for kind in ("conv", "relu")]


def impossible(config: Config) -> Iterator[tuple[str, str]]:
    """What does not go together: the key that must change, and words that say what was found, expected, and why."""
    data, gan = config.data, config.losses.gan
    if data.crop % config.scale:
        yield "data.crop", f"is {data.crop}, expected a multiple of the scale, {config.scale}"
    if data.lr is not None and data.degradation is not None:
        yield (
            "data.degradation",
            "is given, and data.lr too: LR is either made of HR or read; remove one of them",
        )
    if data.lr is not None and data.cleanup != 1:
        yield (
            "data.cleanup",
            f"is {data.cleanup:g}, and data.lr is given: HR that is shrunk no longer fits its LR",
        )
    if data.lr is not None and config.validation.lr is None and config.validation.images != 0:
        yield (
            "validation.lr",
            "is missing, and data.lr is given: name validation pairs as well, or say validation.images: 0",
        )
    if config.validation.lr is not None and config.validation.cleanup != 1:
        yield (
            "validation.cleanup",
            f"is {config.validation.cleanup:g}, but pairs (validation.lr) are not cleaned up",
        )
    if config.network.name == "RRDBNet" and config.network.unshuffle == 2 and config.scale != 2:
        yield "network.unshuffle", f"is 2, which needs the scale 2, not {config.scale}"
    if isinstance(config.start, Pruned):
        yield from _pruned(config.start, config)
    losses = config.losses
    if not any(term.weight for term in (losses.pixel, losses.perceptual, losses.edge, gan, losses.transport)):
        yield (
            "losses",
            "have no term of a weight above 0: nothing would be learnt; say losses.pixel.weight: 1",
        )
    if gan.weight and config.critic is None:
        yield "losses.gan", "needs a critic; add `critic: {name: patch}`, or set losses.gan.weight to 0"
    if not gan.weight and config.critic is not None:
        yield "critic", "is given, but losses.gan.weight is 0: set it above 0, or say critic: null"
    if config.critic is not None and config.critic.name == "vgg" and config.critic.layers is not None:
        yield "critic.layers", "is given, but belongs to name: patch; vgg goes down to 4 pixels"
    if gan.weight and gan.space == "patches" and gan.patch > data.crop:
        yield "losses.gan.patch", f"is {gan.patch}, expected at most the crop, {data.crop}"
    window = losses.transport.window
    if losses.transport.weight and window is not None and window > data.crop:
        yield "losses.transport.window", f"is {window}, expected at most the crop, {data.crop}"
    if losses.views and data.crop < 64:
        yield (
            "losses.views",
            f"is true and leaves too little of a crop of {data.crop}: say data.crop: 64 or more, or views: false",
        )
    yield from _layers(losses)
    yield from _schedule(config.optimiser.schedule)


def _pruned(start: Pruned, config: Config) -> Iterator[tuple[str, str]]:
    blocks, network = list(start.blocks), config.network
    if network.name != "RRDBNet":
        yield "start.blocks", f"are given, but only an RRDBNet has such, and network.name is {network.name}"
    elif blocks != sorted(set(blocks)):
        yield "start.blocks", f"are {blocks}, expected them in ascending order, each once"
    elif len(blocks) != network.nb:
        yield "start.blocks", f"are {len(blocks)}, expected {network.nb} as network.nb says; change either"


def _layers(losses: Losses) -> Iterator[tuple[str, str]]:
    for name, term in (
        ("perceptual", losses.perceptual),
        ("gan", losses.gan),
        ("transport", losses.transport),
    ):
        key = f"losses.{name}.layers"
        if term.layers is not None and not term.layers:
            yield key, "is empty; name a layer, or leave it out for the backbone's own choice"
        for layer in term.layers or ():
            known = layer_names(term.backbone)
            if layer not in known:
                words = f"{term.backbone} has no such layer; it has {', '.join(known)}"
                yield f"{key}.{layer}", f"is unknown: {words}"


def _schedule(schedule: Schedule) -> Iterator[tuple[str, str]]:
    key = "optimiser.schedule"
    if list(schedule.milestones) != sorted(schedule.milestones):
        yield (
            f"{key}.milestones",
            f"are {list(schedule.milestones)}, expected them in order",
        )
    if (schedule.kind == "multistep") != bool(schedule.milestones):
        words = (
            "are missing: steps at which"
            if schedule.kind == "multistep"
            else "belong to kind: multistep, where"
        )
        yield f"{key}.milestones", f"{words} the learning rate is multiplied by factor"
    if schedule.kind != "cosine" and (schedule.periods or schedule.restart_weights or schedule.floor):
        yield key, f"has periods, restart_weights or floor, which belong to kind: cosine, not {schedule.kind}"
    if schedule.restart_weights and len(schedule.restart_weights) != len(schedule.periods):
        found, expected = len(schedule.restart_weights), len(schedule.periods)
        yield f"{key}.restart_weights", f"has {found} values, expected one for each of the {expected} periods"
