"""What a training recipe says, checked once at the door.

A recipe is a YAML file (see configs/); `load_config` reads it into a `Config`, frozen, every value of the right type
and every combination possible. What is wrong is named with file, line and key. `recipe` reads the text, `parts` are
what it may hold, `combinations` finds what does not go together, `complaints` the words.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from otsr.training.combinations import impossible
from otsr.training.complaints import Impossible, complaints
from otsr.training.original import is_original, translate
from otsr.training.parts import (
    Compact,
    Count,
    Critic,
    Data,
    Edge,
    Every,
    Flag,
    Fraction,
    Gan,
    Losses,
    Optimiser,
    Part,
    Perceptual,
    Pixel,
    Positive,
    Pruned,
    RRDBNet,
    Schedule,
    Start,
    Transport,
    Validation,
    Whole,
)  # fmt: skip
from otsr.training.plain_yaml import ConfigError, write
from otsr.training.recipe import Places, Recipe, override, read_recipe

__all__ = [
    "Compact", "Config", "ConfigError", "Critic", "Data", "Edge", "Every", "Gan", "Losses", "Optimiser", "Perceptual",
    "Pixel", "Pruned", "RRDBNet", "Schedule", "Transport", "Validation", "load_config",
]  # fmt: skip


class Config(Part):
    """A whole recipe. README and configs/ show it by example.

    Attributes:
        name: of the run; it is kept in runs/<name> unless the command line says otherwise.
        seed: decides everything drawn at random.
        scale: of the super-resolution.
        steps: of the generator.
        start: weights to start from, a name or a path, or some blocks of these (`Pruned`); None: from scratch.
        precision: of the multiplications; auto: bf16 where the device is fast at it, otherwise fp32.
        graphs: on CUDA the generator's passes are recorded once and replayed, see `otsr.training.hardware.Fast`.
        ema: decay of the running average of the weights that is validated and kept; 0: none.
        clip: largest norm of the generator's gradient; None: any.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    seed: Whole = 10
    scale: Literal[2, 4] = 4
    steps: Count
    network: Annotated[RRDBNet | Compact, Field(discriminator="name")]
    start: Start | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: Flag = True
    graphs: Flag = True
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
        return write(self.model_dump(mode="json"))

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
        path: YAML, see configs/; paths in it are relative to the working directory, `base` to its own folder. Or an
            option file of RealSR or OTSR, which is translated (see `Config.notes`).
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
    fields = getattr(part, "model_fields", None) or getattr(part, "__pydantic_fields__", {})
    for name, entry in fields.items():
        keys[name] = _keys(entry.annotation)
    for kind in get_args(part):
        for name, inner in _keys(kind).items():
            keys[name] = {**keys.get(name, {}), **inner}
    return keys


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{above}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat
