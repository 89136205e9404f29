"""Words for what is wrong with a recipe: pydantic's findings become lines that name place, key and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from otsr.training.plain_yaml import Key, describe
from otsr.training.recipe import Recipe

_EXPECTED = {
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "string_type": "text",
    "tuple_type": "a list, such as [1, 2]", "dict_type": "keys and values", "model_type": "keys and values",
    "model_attributes_type": "keys and values", "dataclass_type": "keys and values",
}  # fmt: skip


class Impossible(ValueError):
    """Values that are right each for itself and do not go together.

    Attributes:
        problems: (key, words) each; the words say what was found, what was expected and what to do.
    """

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{key}: {words}" for key, words in self.problems))


def complaints(error: ValidationError, recipe: Recipe, known: dict[str, Any]) -> list[str]:
    """One line for each finding.

    Args:
        recipe: what was checked.
        known: names of all keys that there are, nested; what a key may be is under it.
    """
    lines = []
    for finding in error.errors(include_url=False):
        cause = finding.get("ctx", {}).get("error")
        if isinstance(cause, Impossible):
            lines += [
                f"{recipe.places.of(tuple(key.split('.')))}: {key} {words}" for key, words in cause.problems
            ]
        else:
            lines.append(_line(finding, recipe, known))
    return list(dict.fromkeys(lines))


def _line(finding: Any, recipe: Recipe, known: dict[str, Any]) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    key = _written(finding["loc"], recipe.values)
    place, name = recipe.places.of(key), dotted(key)
    found = describe(finding["input"])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{place}: unknown key {name}; {_nearest(key, known)}"
    if kind == "missing" and isinstance(key[-1], int):
        return f"{place}: {dotted(key[:-1])} is {found}, expected more values"
    if kind in ("missing", "union_tag_not_found"):
        missing = key if kind == "missing" else (*key, context["discriminator"].strip("'"))
        return f"{place}: the key {dotted(missing)} is missing"
    if kind == "union_tag_invalid":
        name = f"{name}.{context['discriminator'].strip(chr(39))}"
        return f"{place}: {name} is {context['tag']!r}, expected {_choice(context['tag'], context['expected_tags'])}"
    if kind == "literal_error":
        return f"{place}: {name} is {found}, expected {_choice(finding['input'], context['expected'])}"
    return f"{place}: {name} is {found}, expected {_expected(kind, context, finding['msg'])}"


def dotted(key: Key) -> str:
    """data.hr[2] of ("data", "hr", 2)."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


def _written(location: Key, values: Any) -> Key:
    """The key as written in the recipe: pydantic adds, after `network` and `start`, which kind of it it took."""
    network = values.get("network")
    kinds = {"network": network.get("name") if isinstance(network, dict) else None}
    kinds["start"] = "pruned" if isinstance(values.get("start"), dict) else "text"
    if len(location) > 1 and location[1] == kinds.get(str(location[0])):
        return (location[0], *location[2:])
    return location


def _nearest(key: Key, known: dict[str, Any]) -> str:
    """Words that lead to the key that was meant: a similar one beside it, or one of the same name elsewhere."""
    beside = known
    for part in key[:-1]:
        beside = beside.get(str(part), {})
    name = str(key[-1])
    close = difflib.get_close_matches(name, beside, 1, 0.6)
    if close:
        return f"did you mean {dotted((*key[:-1], close[0]))}?"
    elsewhere = [other for other in _all_keys(known) if other[-1] == name]
    if len(elsewhere) == 1:
        return f"did you mean {dotted(elsewhere[0])}?"
    if elsewhere:
        return f"did you mean one of {', '.join(map(dotted, elsewhere))}?"
    where = dotted(key[:-1]) or "a recipe"
    return f"{where} has the keys {', '.join(beside)}"


def _all_keys(known: dict[str, Any], above: Key = ()) -> list[Key]:
    keys: list[Key] = []
    for name, inner in known.items():
        keys += [(*above, name), *_all_keys(inner, (*above, name))]
    return keys


def _choice(found: object, expected: str) -> str:
    """The allowed values, and the one that may have been meant."""
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    close = difflib.get_close_matches(str(found), choices, 1, 0.6)
    hint = f"; did you mean {close[0]}?" if close and close[0] != str(found) else ""
    return ("one of " if len(choices) > 1 else "") + ", ".join(choices) + hint


def _expected(kind: str, context: dict[str, Any], message: str) -> str:
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    limits = {"greater_than_equal": ("at least", "ge"), "greater_than": ("more than", "gt")}
    limits |= {"less_than_equal": ("at most", "le"), "less_than": ("less than", "lt")}
    if kind in limits:
        words, name = limits[kind]
        return f"{words} {context[name]:g}"
    if kind in ("too_long", "too_short"):
        bound = context.get("max_length", context.get("min_length"))
        return f"{'at most' if kind == 'too_long' else 'at least'} {bound} values"
    if kind == "string_pattern_mismatch":
        return "letters, digits, dots, dashes and underscores (it names a folder)"
    if kind == "string_too_short":
        return "text that is not empty"
    return message[:1].lower() + message[1:].removeprefix("nput should be ")
