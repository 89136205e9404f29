"""The keys of a recipe, what they mean, and which values they take. `recipe.load_config` reads one from a file.

Each part checks itself: types and ranges by its fields, what does not go together by its `misfits`.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PrivateAttr, Tag
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from otsr.networks import layer_names

Misfits = Iterator[tuple[str, str]]
Backbone = Literal["vgg19", "vgg16", "alex"]
Text = Annotated[str, Field(min_length=1)]
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Count = Annotated[int, Field(strict=True, ge=1, lt=2**63)]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, lt=1)]
_one = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)  # path may stand alone
Sources = Annotated[tuple[Text, ...], _one, Field(min_length=1)]


class ConfigError(ValueError):
    """A recipe is wrong. `problems` are lines that name file, line and key, what was found, and what was expected."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Keys(dict[str, Any]):
    """A mapping of a recipe, with the `place` where it and each of its keys was written, such as "recipe.yml:12"."""

    def __init__(self, place: str = "recipe") -> None:
        super().__init__()
        self.place, self.places = place, dict[str, str]()

    def where(self, key: Sequence[str | int]) -> str:
        """Where a key, or the nearest part that holds it, was written."""
        place, part = self.place, self
        for name in map(str, key):
            if not isinstance(part, Keys) or name not in part:
                break
            place, part = part.places.get(name, place), part[name]
        return place


def flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Values by dotted names, such as "data.hr"."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


class Part(BaseModel):
    """A part of a recipe: cannot be changed, and has no other keys than these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def misfits(self) -> Misfits:
        """Values that are fine alone but do not fit together: the key, below this part, and words."""
        yield from ()

    @pydantic.model_validator(mode="after")
    def _fit(self) -> Any:
        for key, words in self.misfits():
            raise PydanticCustomError("misfit", "{words}", {"key": key, "words": words})
        return self


class RRDBNet(Part):  # network: see otsr.networks.generators, also for `Compact`
    name: Literal["RRDBNet"]
    nf: Count = 64
    nb: Count = 23
    gc: Count = 32
    unshuffle: Literal[1, 2] = 1


class Compact(Part):
    name: Literal["Compact"]
    nf: Count = 32
    nb: Count = 8
    base: Literal["bicubic", "nearest"] = "bicubic"


class Pruned(Part):  # start: some blocks of a larger RRDBNet; see otsr.networks.generators.prune
    weights: Text  # a name or a path
    blocks: tuple[Whole, ...]  # which to keep, counted from 0; as many as network.nb

    def __str__(self) -> str:
        return f"{self.weights}, blocks {' '.join(map(str, self.blocks))}"


Start = Annotated[
    Annotated[Text, Tag("text")] | Annotated[Pruned, Tag("Pruned")],
    Discriminator(lambda value: "Pruned" if isinstance(value, dict | Pruned) else "text"),
]


class Pictures(Part):  # what data and validation have in common
    hr: Sources  # folders or .lmdb stores of HR photos, or "photos/train", the course's
    lr: Text | None = None  # folder or store of LR photos of the same names; None: LR is made from HR
    cleanup: Annotated[float, Field(strict=True, ge=1, le=16)] = 1.0  # HR is shrunk by this, and so cleaned

    def misfits(self) -> Misfits:
        if self.lr is not None and self.cleanup != 1:
            yield "cleanup", f"is {self.cleanup:g}, but lr is set: shrunken HR no longer fits its LR"


class Data(Pictures):  # data: what the generator learns from
    degradation: Text | None = None  # makes LR: a file of `otsr estimate`, "phone", "general"; None: bicubic
    crop: Count = 128  # side of an HR crop in pixels, after the clean-up
    batch: Count  # crops per step, over all processes
    workers: Whole = 2  # processes that load batches, for each training process
    augment: Flag = True  # flips and rotations

    def misfits(self) -> Misfits:
        yield from super().misfits()
        if measuring := {"photos/val", "photos/test"} & {*self.hr}:
            yield "hr", f"is {measuring.pop()}, photos for measuring; train on photos/train"
        if self.lr is not None and self.degradation is not None:
            yield "degradation", "is set, but so is data.lr: LR is either read or made from HR; remove one"


class Validation(Pictures):  # validation: the photos that choose the best weights; LR made with fixed seeds
    hr: Sources = ("photos/val",)
    images: Whole | None = None  # only the first so many; None: all; 0: no validation

    def misfits(self) -> Misfits:
        yield from super().misfits()
        if "photos/test" in self.hr:
            yield "hr", "is photos/test, which must not choose weights; use photos/val"


class Schedule(Part):  # optimiser.schedule: the learning rate over the steps; see otsr.training.runtime.rate
    kind: Literal["constant", "multistep", "cosine"] = "constant"
    milestones: tuple[Count, ...] = ()  # multistep: the steps at which the rate is multiplied by factor
    factor: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.5
    periods: tuple[Count, ...] = ()  # cosine: their lengths in steps; empty: one of all steps
    floor: Number = 0.0  # cosine: the rate at the end of each period, and after the last one
    warmup: Whole = 0  # steps over which the rate rises linearly from 0

    def misfits(self) -> Misfits:
        if list(self.milestones) != sorted(self.milestones):
            yield "milestones", f"is {list(self.milestones)}; expected ascending numbers"
        if self.kind == "multistep" and not self.milestones:
            yield "milestones", "is missing; list the steps at which the rate is multiplied by factor"
        if self.kind != "multistep" and self.milestones:
            yield "milestones", f"is set, but only kind: multistep has milestones, not {self.kind}"
        if self.kind != "cosine" and (self.periods or self.floor):
            yield "", f"sets periods or floor, but only kind: cosine has them, not {self.kind}"


class Optimiser(Part):  # optimiser: Adam; the generator learns at the rate lr, the critic at critic_lr
    lr: Positive = 1e-4
    critic_lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    schedule: Schedule = Schedule()


class Term(Part):  # losses.pixel, losses.edge: mean absolute difference of pixels, and of Sobel's slopes
    weight: Number = 0.0


class Features(Term):  # what terms that compare deep features have in common
    backbone: str  # which one, says each
    layers: Annotated[dict[str, Positive], Field(min_length=1)] | None = None  # weights; None: the backbone's

    def misfits(self) -> Misfits:
        known = layer_names(self.backbone)
        for layer in [layer for layer in self.layers or () if layer not in known]:
            yield f"layers.{layer}", f"is not a layer of {self.backbone}, which has {', '.join(known)}"


class Perceptual(Features):  # losses.perceptual: mean absolute difference of deep features
    backbone: Backbone = "vgg19"


class Gan(Term):  # losses.gan: a critic tells real from generated; see otsr.training.adversary
    kind: Literal["gan", "ragan", "wgan-qc"] = "ragan"
    K: Positive | None = None  # wgan-qc: the cost is (K/2)‖x − y‖²; None: 1 / (number of values in a sample)
    gamma: Number = 0.4  # wgan-qc: weight of the optimal transport regularity
    reals: Literal["paired", "independent"] = "paired"  # HR of the same scenes as LR, or of others
    space: Literal["images", "patches"] = "images"  # what the critic sees: crops, or parts
    patch: Count = 32  # side of a patch in HR pixels
    ratio: Count = 1  # critic steps per generator step
    start: Whole = 0  # generator step from which the term counts; the critic learns from the beginning


class Transport(Features):  # losses.transport: transport between distributions of features; no critic
    kind: Literal["projected", "sliced"] = "projected"  # each channel is a projection, or random directions
    backbone: Literal["vgg19", "vgg16", "alex", "patches", "details"] = "vgg19"  # see networks.perceptual
    window: Count | None = None  # side in HR pixels of the windows that are compared; None: the whole crop
    projections: Count = 64  # sliced: the number of directions
    power: Literal[1, 2] = 1  # W1 or W2²


class Losses(Part):  # losses: the terms of the generator's loss; those of weight 0 are not built
    pixel: Term = Term()
    perceptual: Perceptual = Perceptual()
    edge: Term = Term()
    gan: Gan = Gan()
    transport: Transport = Transport()

    def misfits(self) -> Misfits:
        if not any(getattr(self, name).weight for name in Losses.model_fields):
            yield "", "has no term with a weight above 0: nothing to learn; try losses.pixel.weight: 1"


class Critic(Part):  # critic: the network that judges for losses.gan
    name: Literal["patch", "vgg"]  # a map of scores, one per window, or one score per crop
    nf: Count = 64
    layers: Whole | None = None  # patch: convolutions of stride 2, which set the window; None: by the crop
    norm: Literal["none", "spectral"] = "none"  # not batch norm: samples must stay independent

    def misfits(self) -> Misfits:
        if self.name == "vgg" and self.layers is not None:
            yield "layers", "is set, but only name: patch has layers; vgg goes down to 4 pixels"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Every:  # every: steps from one to the next; no `Part`, because pydantic's models have a method `validate`
    validate: Count = 1000
    checkpoint: Count = 1000
    log: Count = 50
    pictures: Count = 1000  # in TensorBoard


class Config(Part):  # a whole recipe; configs/ shows it by example
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]  # of the run's folder
    seed: Whole = 10  # decides everything that is drawn at random
    scale: Literal[2, 4] = 4
    steps: Count  # of the generator
    network: Annotated[RRDBNet | Compact, Field(discriminator="name")]
    start: Start | None = None  # weights to start from: a name, a path, or some of their blocks
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 where the device is fast at it
    channels_last: Flag = True
    graphs: Flag = True  # on CUDA, record the generator's passes once and replay them; see `runtime.Fast`
    ema: Fraction = 0.999  # decay of the running average of the weights, which is what is kept; 0: none
    clip: Positive | None = None  # largest norm of the generator's gradient
    data: Data
    validation: Validation = Validation()
    optimiser: Optimiser = Optimiser()
    losses: Losses
    critic: Critic | None = None
    every: Every = Every()

    _keys: Keys = PrivateAttr(default_factory=Keys)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.model_dump() == other.model_dump()

    def misfits(self) -> Misfits:
        crop, gan, window = self.data.crop, self.losses.gan, self.losses.transport.window
        if crop % self.scale:
            yield "data.crop", f"is {crop}, expected a multiple of the scale, {self.scale}"
        if gan.weight and gan.space != "images" and gan.patch > crop:
            yield "losses.gan.patch", f"is {gan.patch}, expected at most the crop, {crop}"
        if self.losses.transport.weight and (window or 0) > crop:
            yield "losses.transport.window", f"is {window}, expected at most the crop, {crop}"
        if gan.weight and self.critic is None:
            yield "losses.gan", "needs a critic; add `critic: {name: patch}`, or set losses.gan.weight to 0"
        if self.critic is not None and not gan.weight:
            yield "critic", "is set, but losses.gan.weight is 0; raise the weight, or set critic: null"
        if self.data.lr is not None and self.validation.lr is None and self.validation.images != 0:
            yield "validation.lr", "is missing, but data.lr is set; name pairs here too, or set images: 0"

    @property
    def notes(self) -> tuple[str, ...]:  # what an option file of RealSR or OTSR asked for and did not get
        return self._notes

    @property
    def architecture(self) -> dict[str, Any]:  # as `otsr.networks.generators.build` takes it
        return {**self.network.model_dump(), "scale": self.scale}

    def error(self, key: str, problem: str) -> ConfigError:
        """An error about the value of a key ("data.hr"), with the place where it was written."""
        return ConfigError(f"{self._keys.where(key.split('.'))}: {key} {problem}")

    def decisive(self, *, exclude_defaults: bool = False) -> dict[str, Any]:
        """The values that decide the course of a training up to any step, and must agree when it is resumed."""
        left_out: Any = {**dict.fromkeys(("name", "steps", "every", "validation"), True), "data": {"workers"}}
        values = self.model_dump(mode="json", exclude=left_out, exclude_defaults=exclude_defaults)
        schedule = self.optimiser.schedule
        if schedule.kind == "cosine" and not schedule.periods:
            values["optimiser"]["schedule"]["periods"] = [self.steps]
        return values

    def fingerprint(self) -> str:
        """Hash of the decisive values; a new key with a neutral default leaves it as it was."""
        values = json.dumps(self.decisive(exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(values.encode()).hexdigest()[:16]
