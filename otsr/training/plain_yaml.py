"""The plain part of YAML, which recipes are written in: mappings, lists, numbers, text, each with its line.

Numbers are what one expects (1e-4 is one, although YAML 1.1 says no); `yes` and `1:30` are text. Anchors and aliases
are refused: a few lines of them can stand for billions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

_DEEPEST = 20

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
    """The value of a leaf. Option files of others write `!!float 1e-4`: such tags are allowed."""
    tag = node.tag.removeprefix(_TAG)
    if tag == "str" and node.style is not None:
        return node.value
    value = _plain(node.value)
    return float(value) if tag == "float" and isinstance(value, int) else value


def _plain(text: str) -> Any:
    """What text without quotes says: None, a truth value, a number or text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if not _NUMBER.fullmatch(text) or len(text) > 40:
        return text
    plain = text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan")
    return int(plain) if re.fullmatch(r"[-+]?\d+", plain) else float(plain)


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` reads to the same: text that would be read as something else is quoted."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if _plain(text) == text else "'"
    return dumper.represent_scalar(f"{_TAG}str", text, style)


_Dumper.add_representer(str, _represent_text)


def write(values: dict[str, Any]) -> str:
    """YAML of plain values, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


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
