"""What a training recipe says, checked once at the door.

A recipe is a YAML file (see configs/); `load_config` reads it into a `Config`, frozen, every value of the right type
and every combination possible. What is wrong is named with file, line and key. `recipe` reads the text, `complaints`
finds the words.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from otsr.training.combinations import impossible
from otsr.training.complaints import Impossible, complaints
from otsr.training.original import is_original, translate
from otsr.training.recipe import ConfigError, Places, Recipe, override, read_recipe

__all__ = [
    "Compact", "Config", "ConfigError", "Critic", "Data", "Edge", "Every", "Gan", "Losses", "Optimiser", "Perceptual",
    "Pixel", "RRDBNet", "Schedule", "Transport", "Validation", "load_config",
]  # fmt: skip

Backbone = Literal["vgg19", "vgg16", "alex"]
Text = Annotated[str, Field(min_length=1)]
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=1)]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, lt=1)]
Shrinking = Annotated[float, Field(strict=True, ge=1, le=16)]
Layers = dict[str, Positive]


def _many(value: object) -> object:
    """One path stands for a list of one."""
    return [value] if isinstance(value, str) else value


class _Part(BaseModel):
    """A part of a recipe: cannot be changed, and has no other keys than these."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RRDBNet(_Part):
    """`network:` of the name RRDBNet; see `otsr.networks.generators.RRDBNet`."""

    name: Literal["RRDBNet"]
    nf: Count = 64
    nb: Count = 23
    gc: Count = 32
    unshuffle: Literal[1, 2] = 1


class Compact(_Part):
    """`network:` of the name Compact; see `otsr.networks.generators.Compact`."""

    name: Literal["Compact"]
    nf: Count = 32
    nb: Count = 8
    base: Literal["bicubic", "nearest"] = "bicubic"


class Data(_Part):
    """`data:` what the generator learns from.

    Attributes:
        hr: folders or .lmdb stores of HR pictures, or "photos/train", the course photos. One path may stand alone.
        lr: folder or store of their LR pictures, of the same names; None: LR is made of HR.
        degradation: file of `otsr estimate` by which LR is made, or "phone", estimated from the course's phone crops;
            None: bicubic.
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


class Validation(_Part):
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


class Schedule(_Part):
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


class Optimiser(_Part):
    """`optimiser:` Adam, of the generator with the rate `lr`, of the critic with `critic_lr`."""

    lr: Positive = 1e-4
    critic_lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    schedule: Schedule = Schedule()


class Pixel(_Part):
    """`losses.pixel:` mean absolute difference."""

    weight: Number = 0.0


class Perceptual(_Part):
    """`losses.perceptual:` mean absolute difference of deep features.

    Attributes:
        layers: names and weights of the backbone's layers; None: its own choice.
    """

    weight: Number = 0.0
    backbone: Backbone = "vgg19"
    layers: Layers | None = None


class Edge(_Part):
    """`losses.edge:` mean absolute difference of edge maps."""

    weight: Number = 0.0
    kind: Literal["sobel", "canny"] = "sobel"


class Gan(_Part):
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


class Transport(_Part):
    """`losses.transport:` transport between the distributions of deep features, without a critic.

    Attributes:
        kind: projected (each channel is a projection) or sliced (random directions).
        layers: as in `Perceptual`.
        projections: random directions a step; of sliced.
        power: 1 for W1, 2 for W2².
    """

    weight: Number = 0.0
    kind: Literal["projected", "sliced"] = "projected"
    backbone: Backbone = "vgg19"
    layers: Layers | None = None
    projections: Count = 64
    power: Literal[1, 2] = 1


class Losses(_Part):
    """`losses:` the terms of the generator's loss; those of weight 0 are not built."""

    pixel: Pixel = Pixel()
    perceptual: Perceptual = Perceptual()
    edge: Edge = Edge()
    gan: Gan = Gan()
    transport: Transport = Transport()


class Critic(_Part):
    """`critic:` the network that the gan term needs.

    Attributes:
        name: patch (a map of scores, one for each window) or vgg (one score a crop).
        layers: convolutions of stride 2; None: the critic's own choice.
        norm: never of the batch: that would couple the samples, and the penalty is for each.
    """

    name: Literal["patch", "vgg"]
    nf: Count = 64
    layers: Count | None = None
    norm: Literal["none", "group", "spectral"] = "none"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Every:
    """`every:` steps between two validations, checkpoints, points of the curves, and pictures in TensorBoard.

    No `_Part`, because pydantic's models have a method `validate` already.
    """

    validate: Count = 1000
    checkpoint: Count = 1000
    log: Count = 50
    pictures: Count = 1000


class Config(_Part):
    """A whole recipe. README and configs/ show it by example.

    Attributes:
        name: of the run; it is kept in runs/<name> unless the command line says otherwise.
        seed: decides everything drawn at random.
        scale: of the super-resolution.
        steps: of the generator.
        start: weights to start from, a name or a path; None: from scratch.
        precision: of the multiplications; auto: bf16 where the device is fast at it, otherwise fp32.
        ema: decay of the running average of the weights that is validated and kept; 0: none.
        clip: largest norm of the generator's gradient; None: any.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    seed: Whole = 10
    scale: Literal[2, 4] = 4
    steps: Count
    network: Annotated[RRDBNet | Compact, Field(discriminator="name")]
    start: Text | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: Flag = True
    ema: Fraction = 0.999
    clip: Positive | None = None
    data: Data
    validation: Validation = Validation()
    optimiser: Optimiser = Optimiser()
    losses: Losses
    critic: Critic | None = None
    every: Every = Every()

    _places: Places = PrivateAttr(default_factory=Places)
    _notes: list[str] = PrivateAttr(default_factory=list)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _possible(self) -> Config:
        problems = list(impossible(self))
        if problems:
            raise Impossible(problems)
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What the recipe had to say and could not, when it was one of RealSR or OTSR; see `original`."""
        return tuple(self._notes)

    @property
    def architecture(self) -> dict[str, Any]:
        """The network and its scale, as `otsr.networks.generators.build` takes them."""
        return {**self.network.model_dump(), "scale": self.scale}

    def error(self, key: str, problem: str) -> ConfigError:
        """An error about the value of a key ("data.hr"), with the place where it was written."""
        return ConfigError(f"{self._places.of(tuple(key.split('.')))}: {key} {problem}")

    def dump(self) -> str:
        """The recipe in YAML, every value written out. `load_config` reads it to an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)

    def fingerprint(self) -> str:
        """Hash of what must agree when a training is resumed: 16 hexadecimal digits.

        The name, the number of steps, `every`, workers and validation do not count. Values left at their default do not
        count either, so that a new key with a neutral default does not invalidate old checkpoints.
        """
        values = self._decisive(exclude_defaults=True)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: Config) -> list[str]:
        """What keeps a training by this recipe from being resumed by another: "data.crop: 96, now 128" each."""
        mine, theirs = _flat(self._decisive()), _flat(other._decisive())
        nothing = "not given"
        keys = dict.fromkeys([*mine, *theirs])
        pairs = [(key, mine.get(key, nothing), theirs.get(key, nothing)) for key in keys]
        return [f"{key}: {before}, now {now}" for key, before, now in pairs if before != now]

    def _decisive(self, *, exclude_defaults: bool = False) -> dict[str, Any]:
        """The values that decide the course of a training up to any step."""
        left_out: dict[str, Any] = {"name": True, "steps": True, "every": True, "validation": True}
        values = self.model_dump(
            mode="json", exclude={**left_out, "data": {"workers"}}, exclude_defaults=exclude_defaults
        )
        schedule = self.optimiser.schedule
        if schedule.kind == "cosine" and not schedule.periods:
            values["optimiser"]["schedule"]["periods"] = [self.steps]
        return values


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """The recipe in a file, checked.

    Args:
        path: YAML, see configs/; or an option file of RealSR or OTSR, which is translated (see `Config.notes`). Paths in it are relative to the working directory; `base` to its own folder.
        overrides: "key.sub=value" each, in place of what the file says.

    Raises:
        ConfigError: something is wrong with it; each problem is named with file, line and key.
    """
    recipe, notes = read_recipe(path), []
    if is_original(recipe.values):
        original = translate(recipe)
        recipe, notes = original.recipe, original.notes
    override(recipe, overrides)
    config = check(recipe)
    config._notes.extend(notes)
    return config


def check(recipe: Recipe) -> Config:
    """The recipe of plain values. Raises ConfigError."""
    try:
        config = Config.model_validate(recipe.values)
    except ValidationError as error:
        known = _keys(Config)
        chosen = {"RRDBNet": RRDBNet, "Compact": Compact}.get(_name_of_network(recipe.values))
        known["network"] = _keys(chosen) if chosen else known["network"]
        raise ConfigError(*complaints(error, recipe, known)) from None
    config._places = recipe.places
    return config


def _name_of_network(values: dict[str, Any]) -> str:
    network = values.get("network")
    return str(network.get("name")) if isinstance(network, dict) else ""


def _keys(part: Any) -> dict[str, Any]:
    """Names of all keys of a part, nested."""
    keys: dict[str, Any] = {}
    for kind in (part, *get_args(part)):
        fields = getattr(kind, "model_fields", None) or getattr(kind, "__pydantic_fields__", {})
        for name, entry in fields.items():
            keys[name] = {**keys.get(name, {}), **_keys(entry.annotation)}
    return keys


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{above}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat
