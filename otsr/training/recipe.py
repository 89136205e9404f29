"""Read the text of a recipe: YAML to plain values, and where each of them was written.

The YAML is the plain part of it: mappings, lists, numbers, text. Numbers are what one expects (1e-4 is one, although
YAML 1.1 says no), `yes` and `1:30` are text. Anchors and aliases are refused: a few lines of them can stand for
billions. A recipe may build on another (`base: other.yml`), and the command line may override values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LARGEST = 64 * 1024  # bytes; the recipes in configs/ have 2000
_DEEPEST = 20
_LONGEST_CHAIN = 8  # recipes that build on each other

Key = tuple[str | int, ...]


class ConfigError(ValueError):
    """A recipe is wrong. Each problem names file, line and key, what was found, what was expected.

    Attributes:
        problems: one line each.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


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
        path: YAML file. `base` in it is relative to the file's own folder.

    Raises:
        ConfigError: the file cannot be read, is no YAML mapping, or a `base` leads round in a circle.
    """
    return _with_base(Path(path), ())


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
        raise ConfigError(f"{path}: no such file; expected a recipe, such as configs/tiny.yml") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: this is a folder; name the recipe in it, a .yml file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: larger than {LARGEST // 1024} KiB; a recipe has some 2 KiB, this is none")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is no text (not UTF-8); expected a recipe in YAML") from None
    parsed = parse(text, str(path))
    if parsed.values is None:
        raise ConfigError(f"{path}: empty; expected a recipe, such as configs/tiny.yml")
    if not isinstance(parsed.values, dict):
        raise ConfigError(
            f"{path}: holds {describe(parsed.values)}, expected keys and values, such as `steps: 1000`"
        )
    return Recipe(parsed.values, Places({(): str(path), **parsed.lines}))


@dataclass
class Parsed:
    """What YAML text says, and the place of each key."""

    values: Any
    lines: dict[Key, str]


def parse(text: str, source: str) -> Parsed:
    """Plain values of YAML text.

    Args:
        source: what errors call the text; places are "source:line".

    Raises:
        ConfigError: no YAML, a key twice, an alias, a tag that is not plain, or too deep.
    """
    try:
        _check_events(text, source)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        words = " ".join(filter(None, (error.context, error.problem)))
        hint = "; indent with spaces" if "'\\t'" in words else ""
        raise ConfigError(f"{source}{line}: this is no YAML: {words}{hint}") from None
    except yaml.YAMLError as error:
        number = 1 + text.count("\n", 0, getattr(error, "position", 0))
        reason = getattr(error, "reason", str(error))
        raise ConfigError(f"{source}:{number}: this is no YAML text: {reason}") from None
    lines: dict[Key, str] = {}
    return Parsed(None if node is None else _value(node, (), source, lines), lines)


def _check_events(text: str, source: str) -> None:
    """Refuse, before anything is built, what could grow without bound."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            raise ConfigError(
                f"{source}:{line}: anchors and aliases (& and *) are not read; write the value out"
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"{source}:{line}: more than {_DEEPEST} levels deep; a recipe has 4")


def _value(node: yaml.Node, key: Key, source: str, lines: dict[Key, str]) -> Any:
    if node.tag.removeprefix(_TAG) not in _TAGS:
        line = node.start_mark.line + 1
        raise ConfigError(f"{source}:{line}: the tag {node.tag} is not read; write a plain value")
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for number, item in enumerate(node.value):
            place = (*key, number)
            lines[place] = f"{source}:{item.start_mark.line + 1}"
            items.append(_value(item, place, source, lines))
        return items
    values: dict[str, Any] = {}
    for name, line, value in _entries(node, source):
        here = (*key, name)
        if name in values:
            raise ConfigError(f"{line}: the key {name} stands twice, first in {lines[here]}; keep one")
        lines[here] = line
        values[name] = _value(value, here, source, lines)
    return values


def _entries(node: yaml.Node, source: str) -> Iterator[tuple[str, str, yaml.Node]]:
    for name, value in node.value:
        here = f"{source}:{name.start_mark.line + 1}"
        if not isinstance(name, yaml.ScalarNode):
            raise ConfigError(f"{here}: a key is a list or a mapping, expected a word")
        yield name.value, here, value


_TAG = "tag:yaml.org,2002:"
_TAGS = ("map", "seq", "str", "int", "float", "bool", "null")
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.inf|\.nan", re.IGNORECASE)
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


def _scalar(node: yaml.ScalarNode) -> Any:
    """None, a truth value, a number or text. Option files of others write `!!float 1e-4`: such tags are allowed."""
    text: str = node.value
    tag = node.tag.removeprefix(_TAG)
    if tag == "str" and node.style is not None:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if not _NUMBER.fullmatch(text) or len(text) > 40:
        return text
    plain = text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan")
    return int(plain) if re.fullmatch(r"[-+]?\d+", plain) and tag != "float" else float(plain)


def describe(value: object) -> str:
    """A value as an error shows it: short, and with its kind where that may not be seen."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "keys and values"
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"{shown} (text)" if isinstance(value, str) else shown
