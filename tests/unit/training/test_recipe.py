"""Reading the text of a recipe: plain values, lines, bases, overrides, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsr.training.plain_yaml import ConfigError, parse
from otsr.training.recipe import LARGEST, Places, Recipe, override, read_recipe


def write(folder: Path, text: str, name: str = "recipe.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), ("-3", -3), ("+2.5", 2.5), (".5", 0.5), ("010", 10), ("60_000", 60000),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("1:30", "1:30"), ("'1'", "1"), ('"true"', "true"),
        ("1.2.3", "1.2.3"), ("!!float 2e-4", 2e-4), ("!!float 1", 1.0), ("!!int 3", 3), ("2024-01-01", "2024-01-01"),
        ("[1, a]", [1, "a"]),
        ("{a: {b: 1e3}}", {"a": {"b": 1000.0}}),
    ],
)  # fmt: skip
def test_values_are_what_one_expects(text: str, value: object) -> None:
    found = parse(text, "x").values
    assert found == value and type(found) is type(value)


def test_every_key_and_item_knows_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "# one\nname: a\ndata:\n  hr:\n    - x\n    - y\n")
    places = read_recipe(path).places
    assert places.of(("name",)) == f"{path}:2"
    assert places.of(("data", "hr")) == f"{path}:4"
    assert places.of(("data", "hr", 1)) == f"{path}:6"
    assert places.of(("data", "none")) == f"{path}:3"
    assert places.of(("none",)) == str(path)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "no YAML"),
        ("a: 1\n\tb: 2\n", 2, "indent with spaces"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key a stands twice, first in"),
        ("data:\n  x: 1\n  x: 2\n", 3, "the key x stands twice"),
        ("a: &x 1\nb: *x\n", 1, "anchors and aliases"),
        (
            "a: 1\nb: !!python/object/apply:os.system [ls]\n",
            2,
            "the tag tag:yaml.org,2002:python/object/apply:os.system",
        ),
        ("a: 1\nb: !secret x\n", 2, "the tag !secret is not read"),
        ("a: 1\n---\nb: 2\n", 2, "no YAML"),
        ("? [1, 2]\n: 3\n", 1, "a key is a list"),
        ("a: 1\nb: \x07\n", 2, "no YAML"),
        ("a: [\n" + "[\n" * 5000, 20, "levels deep"),
    ],
)
def test_text_that_is_no_recipe_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = write(tmp_path, text)
    message = problem(path)
    assert message.startswith(f"{path}:{line}: ") and words in message


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_recipe_is_called_empty(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert problem(path).startswith(f"{path}: empty")


@pytest.mark.parametrize(("text", "words"), [("- a\n- b\n", "['a', 'b']"), ("hello\n", "'hello' (text)")])
def test_a_recipe_that_is_no_mapping_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert f"holds {words}, expected keys and values" in problem(write(tmp_path, text))


def test_a_folder_a_missing_file_and_a_binary_are_told_apart(tmp_path: Path) -> None:
    assert "this is a folder" in problem(tmp_path)
    assert "no such file" in problem(tmp_path / "none.yml")
    (tmp_path / "photo.yml").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    assert "this is no text" in problem(tmp_path / "photo.yml")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "larger than 64 KiB" in problem(path)  # a terabyte would not fit into memory


def test_the_largest_file_is_read_and_a_byte_more_is_not(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\n#".ljust(LARGEST, "x"))
    assert read_recipe(path).values == {"a": 1}
    path.write_text("a: 1\n#".ljust(LARGEST + 1, "x"))
    assert "larger than" in problem(path)


def test_a_billion_laughs_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [ha, ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "anchors and aliases" in problem(write(tmp_path, "\n".join(lines)))  # 9²⁹ laughs would never end


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "windows.yml"
    path.write_bytes(b"\xef\xbb\xbfname: a\r\nsteps: 3\r\n")
    assert read_recipe(path).values == {"name": "a", "steps": 3}


def test_a_base_gives_what_the_recipe_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    below = write(tmp_path, "a: 1\npart: {x: 1, y: 2}\nlist: [1, 2]\n", "below.yml")
    above = write(tmp_path / "sub", "base: ../below.yml\npart:\n  y: 3\nlist: [3]\nb: 4\n")
    recipe = read_recipe(above)
    assert recipe.values == {"a": 1, "part": {"x": 1, "y": 3}, "list": [3], "b": 4}
    assert Path(recipe.places.of(("a",)).rpartition(":")[0]).resolve() == below.resolve()
    assert recipe.places.of(("part", "y")) == f"{above}:3"
    assert recipe.places.of(("list", 0)) == f"{above}:4"
    assert recipe.places.of(("none",)) == str(above)


def test_another_network_and_other_layers_replace_those_of_the_base(tmp_path: Path) -> None:
    write(tmp_path, "network: {name: A, gc: 1}\nloss: {layers: {x: 1}}\ncritic: {name: c}\n", "below.yml")
    above = "base: below.yml\nnetwork: {name: B}\nloss: {layers: {y: 1}}\ncritic: null\n"
    values = read_recipe(write(tmp_path, above)).values
    assert values == {"network": {"name": "B"}, "loss": {"layers": {"y": 1}}, "critic": None}


def test_recipes_that_build_on_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path, "a: 1\nbase: two.yml\n", "one.yml")
    write(tmp_path, "base: one.yml\n", "two.yml")
    assert "leads back" in problem(one)
    assert "leads back" in problem(write(tmp_path, "base: self.yml\n", "self.yml"))


def test_a_chain_of_bases_has_an_end(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, f"base: {number + 1}.yml\n", f"{number}.yml")
    assert "more than 8 recipes" in problem(tmp_path / "0.yml")


@pytest.mark.parametrize("base", ["none.yml", "''", "3", "[a.yml]", "~"])
def test_a_base_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, base: str) -> None:
    path = write(tmp_path, f"a: 1\nbase: {base}\n")
    assert problem(path).startswith(f"{path}:2: base is ")


def test_an_error_in_a_base_names_the_base(tmp_path: Path) -> None:
    write(tmp_path, "a: 1\na: 2\n", "below.yml")
    assert problem(write(tmp_path, "base: below.yml\n")).startswith(f"{tmp_path}/below.yml:2: ")


def overridden(text: str, *overrides: str) -> Recipe:
    parsed = parse(text, "file")
    recipe = Recipe(parsed.values, Places(dict(parsed.lines)))
    override(recipe, overrides)
    return recipe


def test_the_command_line_has_its_way_and_is_named() -> None:
    recipe = overridden("a: {b: 1, c: [1, 2]}\n", "a.b=1e-3", "a.c=[5]", "d.e.f=x=y")
    assert recipe.values == {"a": {"b": 1e-3, "c": [5]}, "d": {"e": {"f": "x=y"}}}
    assert recipe.places.of(("a", "b")) == "--set a.b=1e-3"
    assert recipe.places.of(("a", "c", 0)) == "--set a.c=[5]"
    assert recipe.places.of(("d", "e")) == "--set d.e.f=x=y"
    assert recipe.places.of(("a",)) == "file:1"


def test_the_command_line_replaces_a_whole_part() -> None:
    recipe = overridden("a: {b: 1, c: 2}\n", "a={b: 3}")
    assert recipe.values == {"a": {"b": 3}}


def test_the_last_word_on_the_command_line_counts() -> None:
    assert overridden("a: 1\n", "a=2", "a=3").values == {"a": 3}


@pytest.mark.parametrize("text", ["a", "=3", "a..b=1", ".a=1", "a.=2", ""])
def test_an_override_that_is_no_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value") as caught:
        overridden("a: 1\n", text)
    assert str(caught.value).startswith(f"--set {text}: ")


def test_an_override_below_a_plain_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="a is 1, it has no keys"):
        overridden("a: 1\n", "a.b=2")


def test_an_override_in_bad_yaml_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--set a=\[1:1: this is no YAML"):
        overridden("a: 1\n", "a=[1")


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("ab:{}[]&*!-?|>'\"#\n \t,%@`~01.", max_size=40)))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse(text, "file")
    except ConfigError as error:
        assert error.problems[0].startswith("file:")
