"""The parts of a recipe: which keys there are, of which type and range, and what they mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

Backbone = Literal["vgg19", "vgg16", "alex"]
Space = Literal["vgg19", "vgg16", "alex", "patches", "details"]
Text = Annotated[str, Field(min_length=1)]
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Count = Annotated[int, Field(strict=True, ge=1, lt=2**63)]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, lt=1)]
Shrinking = Annotated[float, Field(strict=True, ge=1, le=16)]
Layers = dict[str, Positive]


def _many(value: object) -> object:
    """One path stands for a list of one."""
    return [value] if isinstance(value, str) else value


class Part(BaseModel):
    """A part of a recipe: cannot be changed, and has no other keys than these."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RRDBNet(Part):
    """`network:` of the name RRDBNet; see `otsr.networks.generators.RRDBNet`."""

    name: Literal["RRDBNet"]
    nf: Count = 64
    nb: Count = 23
    gc: Count = 32
    unshuffle: Literal[1, 2] = 1


class Compact(Part):
    """`network:` of the name Compact; see `otsr.networks.generators.Compact`."""

    name: Literal["Compact"]
    nf: Count = 32
    nb: Count = 8
    base: Literal["bicubic", "nearest"] = "bicubic"


class Pruned(Part):
    """`start:` another RRDBNet, of which only some blocks are kept; see `otsr.networks.generators.prune`.

    Attributes:
        weights: a name or a path.
        blocks: those of its trunk that are kept, counted from 0, in ascending order; as many as `network.nb`.
    """

    weights: Text
    blocks: tuple[Whole, ...]

    def __str__(self) -> str:
        return f"{self.weights}, blocks {' '.join(map(str, self.blocks))}"


Start = Annotated[
    Annotated[Text, Tag("text")] | Annotated[Pruned, Tag("pruned")],
    Discriminator(lambda value: "pruned" if isinstance(value, dict | Pruned) else "text"),
]
"""`start:` a name or a path, or a mapping, `Pruned`."""


class Data(Part):
    """`data:` what the generator learns from.

    Attributes:
        hr: folders or .lmdb stores of HR pictures, or "photos/train", the course photos. One path may stand alone.
        lr: folder or store of their LR pictures, of the same names; None: LR is made of HR.
        degradation: file of `otsr estimate` by which LR is made, or "phone", estimated from the course's phone crops;
            or "general", of any camera; None: bicubic.
        cleanup: HR is shrunk by this first, so that its own noise and compression go.
        crop: side of an HR crop in pixels, after the clean-up.
        batch: crops a step, over all processes.
        workers: processes that read ahead, for each training process; 0: none.
        augment: flips and rotations.
    """

    hr: Annotated[tuple[Text, ...], BeforeValidator(_many), Field(min_length=1)]
    lr: Text | None = None
    degradation: Text | None = None
    cleanup: Shrinking = 1.0
    crop: Count = 128
    batch: Count
    workers: Whole = 2
    augment: Flag = True


class Validation(Part):
    """`validation:` what is measured now and then; the best weights are those that score best here.

    Attributes:
        hr: folder or store of HR pictures, or "photos/val", the course photos.
        lr: of their LR pictures; None: made as `data.degradation` says, by fixed seeds.
        images: the first so many; None: all; 0: no validation.
        cleanup: as in `Data`.
    """

    hr: Annotated[tuple[Text, ...], BeforeValidator(_many), Field(min_length=1)] = ("photos/val",)
    lr: Text | None = None
    images: Whole | None = None
    cleanup: Shrinking = 1.0


class Schedule(Part):
    """`optimiser.schedule:` the learning rate over the steps.

    Attributes:
        kind: constant; multistep (× `factor` at each of the `milestones`); cosine (falls to `floor` over each of
            the `periods`, which are steps; the first of period i is `restart_weights`[i] × the learning rate).
        milestones: steps, in order; one that stands twice counts twice.
        periods: none: one, of all steps. After the last one the rate stays at `floor`.
        restart_weights: none: 1 for each period.
        floor: learning rate that cosine ends at.
        warmup: steps over which the rate grows linearly from 0 at the beginning.
    """

    kind: Literal["constant", "multistep", "cosine"] = "constant"
    milestones: tuple[Count, ...] = ()
    factor: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.5
    periods: tuple[Count, ...] = ()
    restart_weights: tuple[Positive, ...] = ()
    floor: Number = 0.0
    warmup: Whole = 0


class Optimiser(Part):
    """`optimiser:` Adam, of the generator with the rate `lr`, of the critic with `critic_lr`."""

    lr: Positive = 1e-4
    critic_lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    schedule: Schedule = Schedule()


class Pixel(Part):
    """`losses.pixel:` mean absolute difference."""

    weight: Number = 0.0


class Perceptual(Part):
    """`losses.perceptual:` mean absolute difference of deep features.

    Attributes:
        layers: names and weights of the backbone's layers; None: its own choice.
    """

    weight: Number = 0.0
    backbone: Backbone = "vgg19"
    layers: Layers | None = None


class Edge(Part):
    """`losses.edge:` mean absolute difference of edge maps."""

    weight: Number = 0.0
    kind: Literal["sobel", "canny"] = "sobel"


class Gan(Part):
    """`losses.gan:` a critic tells real from generated.

    Attributes:
        K: of wgan-qc, the cost (K/2)‖x − y‖²; None: 1 / (number of values in a sample).
        gamma: of wgan-qc, weight of the optimal transport regularity.
        gp_weight: of wgan-gp, weight of the gradient penalty.
        reals: paired (the HR crops of the same LR crops) or independent (others).
        space: what the critic sees: images (whole crops), patches (of them), features (of `backbone`).
        patch: side of a patch in HR pixels.
        backbone, layers: of the features; as in `Perceptual`.
        ratio: steps of the critic for each step of the generator.
        start: step of the generator from which on the term counts; the critic learns from the beginning.
    """

    weight: Number = 0.0
    kind: Literal["gan", "ragan", "wgan-gp", "wgan-qc"] = "ragan"
    K: Positive | None = None
    gamma: Number = 0.4
    gp_weight: Number = 10.0
    reals: Literal["paired", "independent"] = "paired"
    space: Literal["images", "patches", "features"] = "images"
    patch: Count = 32
    backbone: Backbone = "vgg19"
    layers: Layers | None = None
    ratio: Count = 1
    start: Whole = 0


class Transport(Part):
    """`losses.transport:` transport between the distributions of deep features, without a critic.

    Attributes:
        kind: projected (each channel is a projection) or sliced (random directions).
        layers: as in `Perceptual`.
        backbone: of the features; or no network: "patches", the 7×7 pixels around each place, "details", these
            without their mean colour, fine and coarse.
        window: side in HR pixels of the windows whose features are compared; None: the whole crop.
        projections: random directions; of sliced.
        power: 1 for W1, 2 for W2².
    """

    weight: Number = 0.0
    kind: Literal["projected", "sliced"] = "projected"
    backbone: Space = "vgg19"
    layers: Layers | None = None
    window: Count | None = None
    projections: Count = 64
    power: Literal[1, 2] = 1


class Losses(Part):
    """`losses:` the terms of the generator's loss; those of weight 0 are not built.

    Attributes:
        views: networks that compare features see SR and HR through a view drawn anew in each step: shifted, mirrored,
            turned, scaled. A pattern that pleases a network on its own grid alone is then no way to a lower loss.
    """

    views: Flag = False
    pixel: Pixel = Pixel()
    perceptual: Perceptual = Perceptual()
    edge: Edge = Edge()
    gan: Gan = Gan()
    transport: Transport = Transport()


class Critic(Part):
    """`critic:` the network that the gan term needs.

    Attributes:
        name: patch (a map of scores, one for each window) or vgg (one score a crop).
        layers: of patch, convolutions of stride 2, which decide how large a window it judges; None: its own choice.
        norm: never of the batch: that would couple the samples, and the penalty is for each.
    """

    name: Literal["patch", "vgg"]
    nf: Count = 64
    layers: Whole | None = None
    norm: Literal["none", "group", "spectral"] = "none"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Every:
    """`every:` steps between two validations, checkpoints, points of the curves, and pictures in TensorBoard.

    No `Part`, because pydantic's models have a method `validate` already.
    """

    validate: Count = 1000
    checkpoint: Count = 1000
    log: Count = 50
    pictures: Count = 1000
