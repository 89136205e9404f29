"""Read a recipe: plain values, and where each of them was written.

A recipe may build on another (`base: other.yml`), and the command line may override values.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otsr.datasets import recipes
from otsr.training.plain_yaml import ConfigError, Key, describe, parse

LARGEST = 64 * 1024  # bytes; the recipes in configs/ have 2000
_LONGEST_CHAIN = 8  # recipes that build on each other


@dataclass
class Places:
    """Where each key was written: "recipe.yml:12", or "--set data.crop=96"."""

    known: dict[Key, str] = field(default_factory=dict)

    def of(self, key: Key) -> str:
        """The place of a key, or of the nearest part that holds it."""
        while key and key not in self.known:
            key = key[:-1]
        return self.known.get(key, "recipe")

    def replace(self, key: Key, other: Places) -> None:
        """Forget what was written at and below a key, and take over what another place says of it."""
        size = len(key)
        self.known = {k: place for k, place in self.known.items() if k[:size] != key}
        self.known |= {k: place for k, place in other.known.items() if k[:size] == key}


@dataclass
class Recipe:
    """Plain values, and their places."""

    values: dict[str, Any]
    places: Places

    def merge(self, above: Recipe) -> None:
        """Let another recipe have its way: mappings are merged key by key, everything else is replaced."""
        self.values = self._merged(self.values, above.values, above, ())
        if () in above.places.known:
            self.places.known[()] = above.places.known[()]

    def _merged(
        self, below: dict[str, Any], values: dict[str, Any], above: Recipe, key: Key
    ) -> dict[str, Any]:
        result = dict(below)
        for name, value in values.items():
            here = (*key, name)
            if isinstance(value, dict) and _extends(name, result.get(name), value):
                self.places.known[here] = above.places.of(here)
                result[name] = self._merged(result[name], value, above, here)
            else:
                self.places.replace(here, above.places)
                result[name] = value
        return result


def _extends(name: str, below: Any, above: dict[str, Any]) -> bool:
    """Whether keys are added; otherwise the lower value goes: another network or critic, other layers."""
    if name == "layers" or not isinstance(below, dict):
        return False
    return above.get("name", below.get("name")) == below.get("name")


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The values of a recipe, on top of those of its `base`.

    Args:
        path: YAML file, or the name of a recipe that comes with the package. `base` in it is relative to the file's
            own folder.

    Raises:
        ConfigError: the file cannot be read, is no YAML mapping, or a `base` leads round in a circle.
    """
    path = Path(path)
    named = recipes().get(str(path)) if not path.exists() else None
    return _with_base(named or path, ())


def override(recipe: Recipe, overrides: Sequence[str]) -> None:
    """Set single values of the command line, in place.

    Args:
        overrides: "key.sub=value" each, the value in YAML; it replaces the whole value of that key.

    Raises:
        ConfigError: one is not "key.sub=value", or goes below a value that has no keys.
    """
    for text in overrides:
        name, equals, value = text.partition("=")
        place = f"--set {text}"
        key = tuple(name.strip().split("."))
        if not equals or not all(key):
            raise ConfigError(f"{place}: expected key=value, such as data.batch=8 or losses.gan.kind=ragan")
        given = parse(value, place)
        holder = recipe.values
        for depth, part in enumerate(key[:-1], 1):
            inner = holder.get(part)
            if inner is not None and not isinstance(inner, dict):
                raise ConfigError(f"{place}: {'.'.join(key[:depth])} is {inner!r}, it has no keys")
            holder[part] = holder = dict(inner or {})
            recipe.places.known[key[:depth]] = place if inner is None else recipe.places.of(key[:depth])
        holder[key[-1]] = given.values
        recipe.places.replace(key, Places({key: place}))


def _with_base(path: Path, above: tuple[Path, ...]) -> Recipe:
    recipe = read_yaml(path)
    if "base" not in recipe.values:
        return recipe
    name, place = recipe.values.pop("base"), recipe.places.of(("base",))
    chain = (*above, path.resolve())
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{place}: base is {name!r}, expected the path of another recipe")
    below = path.parent / name
    if below.resolve() in chain:
        raise ConfigError(f"{place}: base {name} leads back to a recipe that builds on it")
    if len(chain) >= _LONGEST_CHAIN:
        raise ConfigError(f"{place}: more than {_LONGEST_CHAIN} recipes build on each other")
    try:
        base = _with_base(below, chain)
    except ConfigError as error:
        if error.problems[0].startswith(f"{below}: no such file"):
            raise ConfigError(f"{place}: base is {name}, but there is no file {below}") from None
        raise
    base.merge(recipe)
    return base


def read_yaml(path: Path) -> Recipe:
    """The mapping in one YAML file, with the line of each key. Raises ConfigError: see `read_recipe`."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; expected a recipe in YAML, or the name of one that comes with the package: "
            f"{', '.join(recipes())}"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: this is a folder; name the recipe in it, a .yml file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: larger than {LARGEST // 1024} KiB; a recipe has some 2 KiB, this is none")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is no text (not UTF-8); expected a recipe in YAML") from None
    parsed = parse(text, str(path))
    if parsed.values is None:
        raise ConfigError(f"{path}: empty; expected keys and values, such as `steps: 1000`")
    if not isinstance(parsed.values, dict):
        raise ConfigError(
            f"{path}: holds {describe(parsed.values)}, expected keys and values, such as `steps: 1000`"
        )
    return Recipe(parsed.values, Places({(): str(path), **parsed.lines}))
