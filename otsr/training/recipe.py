"""Read a recipe: YAML with a line for each key, on top of its `base`, with the command line's say, checked.

    config = load_config("configs/tiny.yml", ["data.batch=4"])

Whatever is wrong is reported with file, line and key.
"""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from otsr.datasets import recipes
from otsr.training import original_options
from otsr.training.schema import Config, ConfigError, Keys

LARGEST = 64 * 1024  # bytes; the recipes in configs/ have 2000
_TAG = "tag:yaml.org,2002:"


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """The recipe in a file, checked.

    Args:
        path: YAML, see configs/, or the name of a recipe that comes with the package. Paths in it are relative to the
            working directory, `base` to its own folder. Option files of RealSR and OTSR are translated.
        overrides: "key.sub=value" each, in place of what the file says.

    Raises:
        ConfigError: names each problem with file, line and key.
    """
    values, notes = read_recipe(path), list[str]()
    if "network_G" in values:
        values, notes = original_options.translate(values)
    override(values, overrides)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(*dict.fromkeys(_line(found, values) for found in error.errors())) from None
    config._keys, config._notes = values, tuple(notes)
    return config


class _Loader(yaml.SafeLoader):
    """Mappings, lists, numbers and text. 1e-4 is a number (YAML 1.1: text); yes and 1:30 are text (YAML 1.1: not)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse copies of copies, which can grow without bound, before anything is built."""
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise _invalid("anchors and aliases (& and *) are not supported; write the value out", event)
        return super().compose_node(parent, index)

    def value(self, node: yaml.Node, source: str) -> Any:
        """What a node says; mappings are `Keys`."""
        if node.tag.removeprefix(_TAG) not in ("map", "seq", "str", "int", "float", "bool", "null"):
            raise _invalid(f"the tag {node.tag} is not supported", node)
        if isinstance(node, yaml.ScalarNode):
            return self.construct_object(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, source) for item in node.value]
        found = Keys(f"{source}:{node.start_mark.line + 1}")
        for name, below in node.value:
            line = f"{source}:{name.start_mark.line + 1}"
            if not isinstance(name, yaml.ScalarNode):
                raise _invalid("a key must be a word", name)
            if first := found.places.get(name.value):
                raise ConfigError(f"{line}: the key {name.value} is there twice, first in {first}")
            found.places[name.value] = line
            found[name.value] = self.value(below, source)
        return found


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number, such as 1e3, as well as what YAML 1.1 would misread."""


_WHOLE = re.compile(r"[-+]?\d[\d_]{0,38}\Z")
_NUMBER = re.compile(r"[-+]?((\d[\d_]{0,38}\.?\d*|\.\d+)([eE][-+]?\d{1,4})?|\.(inf|Inf))\Z|\.(nan|NaN)\Z")
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(f"{_TAG}null", re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
    _yaml.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), [*"tTfF"])
    _yaml.add_implicit_resolver(f"{_TAG}int", _WHOLE, [*"-+0123456789"])
    _yaml.add_implicit_resolver(f"{_TAG}float", _NUMBER, [*"-+0123456789."])
_Loader.add_constructor(f"{_TAG}int", lambda loader, node: int(node.value.replace("_", "")))  # 010 is ten


def _invalid(problem: str, at: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def parse(text: str, source: str) -> Any:
    """What YAML text says; mappings are `Keys`. Raises ConfigError, with "source:line"."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else loader.value(node, source)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        words = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        hint = "; indent with spaces" if "'\\t'" in words else ""
        raise ConfigError(f"{source}:{line + 1}: not valid YAML: {words}{hint}") from None


def dump(config: Config) -> str:
    """A recipe in YAML, every value written out; `load_config` reads it to an equal one."""
    values = config.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


# --- files, bases, and the command line


def read_recipe(path: str | os.PathLike[str], above: tuple[Path, ...] = ()) -> Keys:
    """The values in a file, or in a recipe of that name, on top of those of its `base`; recipes `above` build on it.

    Raises ConfigError.
    """
    path = Path(path)
    path = path if path.exists() else recipes().get(str(path), path)
    values, chain = _read(path), (*above, path.resolve())
    if "base" not in values:
        return values
    name, place = values.pop("base"), values.places["base"]
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{place}: base is {describe(name)}, expected the path of another recipe")
    below = path.parent / name
    if below.resolve() in chain:
        raise ConfigError(f"{place}: base {name} builds on this recipe, directly or through others")
    if not below.exists():
        raise ConfigError(f"{place}: base is {name}, but there is no file {below}")
    base = read_recipe(below, chain)
    _merge(base, values)
    return base


def _merge(base: Keys, above: Keys) -> None:
    """Lay a recipe over its base, in place: mappings key by key; another network or critic, and layers, as a whole."""
    base.place = above.place
    for name, value in above.items():
        old: Any = base.get(name)
        mappings = isinstance(value, Keys) and isinstance(old, Keys)
        if mappings and name != "layers" and value.get("name", old.get("name")) == old.get("name"):
            _merge(old, value)
        else:
            base[name] = value
        base.places[name] = above.places[name]


def override(values: Keys, overrides: Sequence[str]) -> None:
    """Set what the command line says, "key.sub=value" each, in place. Raises ConfigError."""
    for text in overrides:
        name, equals, value = text.partition("=")
        place, (*above, last), part = f"--set {text}", name.strip().split("."), values
        if not equals or not all([*above, last]):
            raise ConfigError(f"{place}: expected key=value, such as data.batch=8 or losses.gan.kind=ragan")
        for depth, key in enumerate(above, 1):
            if part.get(key) is None:
                part[key], part.places[key] = Keys(place), place
            part = part[key]
            if not isinstance(part, Keys):
                found = f"{'.'.join(above[:depth])} is {describe(part)}"
                raise ConfigError(f"{place}: {found}, which has no keys")
        part[last], part.places[last] = parse(value, place), place


def _read(path: Path) -> Keys:
    """The mapping in one YAML file."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        from otsr.images import did_you_mean, suggestion  # not at the top: recipes are read without torch

        names = ", ".join(recipes()) + (did_you_mean(path.name, recipes()) or suggestion(path))
        raise ConfigError(f"{path}: no such file, and no recipe of this name; there are {names}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file (not UTF-8); expected a recipe in YAML") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: larger than {LARGEST // 1024} KiB, so not a recipe")
    values = parse(text, str(path))
    if not isinstance(values, Keys):
        found = "empty" if values is None else f"holds {describe(values)}"
        raise ConfigError(f"{path}: {found}; expected keys and values, such as `steps: 1000`")
    values.place = str(path)
    return values


# --- words for what is wrong

Key = tuple[str | int, ...]
_KINDS = ("RRDBNet", "Compact", "Pruned", "text")  # pydantic's places name the part that it chose
_EXPECTED = {
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "string_type": "text",
    "string_too_short": "text that is not empty", "tuple_type": "a list, such as [1, 2]",
    "dict_type": "keys and values", "model_type": "keys and values", "model_attributes_type": "keys and values",
    "dataclass_type": "keys and values", "greater_than_equal": "at least {ge:g}", "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}", "less_than": "less than {lt:g}", "too_long": "at most {max_length} values",
    "too_short": "at least one",
    "string_pattern_mismatch": "letters, digits, dots, dashes and underscores (it names a folder)",
}  # fmt: skip


def _line(error: Any, values: Keys) -> str:
    """One finding of pydantic in our words: place, key, what was found, what was expected."""
    kind, context, key, found = error["type"], error.get("ctx", {}), _plain(error["loc"]), error["input"]
    if kind.startswith("union_tag"):  # which network is meant
        key, found = (*key, "name"), context.get("tag")
    if kind == "misfit":
        key = (*key, *filter(None, context["key"].split(".")))
        words = f"{dotted(key)} {context['words']}"
    elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
        words = f"unknown key {dotted(key)}; {_nearest(error['loc'])}"
    elif kind in ("missing", "union_tag_not_found"):
        words = f"the key {dotted(key)} is missing"
    elif kind in ("literal_error", "union_tag_invalid"):
        choices = context.get("expected") or context["expected_tags"]
        words = f"{dotted(key)} is {describe(found)}, {_choice(found, choices)}"
    else:
        expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else error["msg"]
        words = f"{dotted(key)} is {describe(found)}, expected {expected}"
    return f"{values.where(key)}: {words}"


def _plain(location: Key) -> Key:
    """The key as a recipe has it: without the part that pydantic chose."""
    return location[:1] + location[2:] if location[1:2] and location[1] in _KINDS else location


def dotted(key: Key) -> str:
    """data.hr[2] of ("data", "hr", 2)."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def describe(value: object) -> str:
    """A value as an error shows it: short, and text told from numbers."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "keys and values" if value else "empty"
    whole = repr(value)
    shown = whole if len(whole) <= 60 else whole[:57] + "..."
    return f"{shown} (text)" if isinstance(value, str) else shown


def _choice(found: object, expected: str) -> str:
    """The allowed values, and the one that may have been meant."""
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    close = difflib.get_close_matches(str(found), choices, 1, 0.6)
    hint = f"; did you mean {close[0]}?" if close and close[0] != str(found) else ""
    return f"expected {'one of ' * (len(choices) > 1)}{', '.join(choices)}{hint}"


def _nearest(location: Key) -> str:
    """Words that lead to the key that was meant: a similar one beside it, or one of the same name elsewhere."""
    key, known = _plain(location), list(_keys(Config))
    if key == ("losses", "edge", "kind"):
        return "remove it: edges are always Sobel's"
    beside = [str(other[-1]) for other in known if other[:-1] == location[:-1]]
    meant = [(*key[:-1], close) for close in difflib.get_close_matches(str(key[-1]), beside, 1, 0.6)]
    meant = meant or [_plain(other) for other in known if other[-1] == key[-1] and _plain(other) != key]
    if meant:
        return f"did you mean {' or '.join(dict.fromkeys(map(dotted, meant)))}?"
    return f"{dotted(key[:-1]) or 'a recipe'} has the keys {', '.join(beside)}"


def _keys(part: Any, above: Key = ()) -> Iterator[Key]:
    """Every key of a recipe, at the place where pydantic sees it."""
    for choice in get_args(part):
        name = getattr(choice, "__name__", "")
        yield from _keys(choice, (*above, name) if name in _KINDS else above)
    fields = getattr(part, "model_fields", None) or getattr(part, "__pydantic_fields__", {})
    for name, field in fields.items():
        yield (*above, name)
        yield from _keys(field.annotation, (*above, name))
