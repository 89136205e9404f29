"""A recipe: text and lines, bases and overrides, what is wrong with it, round trip, fingerprint."""

import copy
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import CONFIGS

from otsr.networks import layer_names
from otsr.networks.features import AlexFeatures
from otsr.networks.perceptual import DEFAULT_LAYERS, Details, Patches
from otsr.training import Config, ConfigError, load_config
from otsr.training.checkpoints import differences
from otsr.training.recipe import LARGEST, dump, override, parse, read_recipe
from otsr.training.schema import Keys

RECIPES = sorted(CONFIGS.glob("*.yml"))

SMALLEST = """\
name: tiny
steps: 100
network: {name: Compact}
data:
  hr: photos/train
  batch: 4
losses:
  pixel: {weight: 1}
"""

FULL = """\
name: full
steps: 100
network: {name: RRDBNet, nf: 8, nb: 1, gc: 4}
data:
  hr: [a, b.lmdb]
  degradation: phone
  crop: 64
  batch: 4
losses:
  pixel: {weight: 1}
  perceptual: {weight: 0.5, backbone: alex, layers: {conv3: 1}}
  gan: {weight: 1, kind: wgan-qc, space: patches, patch: 32}
critic: {name: patch, norm: spectral}
optimiser:
  lr: 1e-4
  schedule: {kind: multistep, milestones: [10, 20]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yml"


def load(path: Path, text: str, *overrides: str) -> Config:
    path.write_text(text)
    return load_config(path, overrides)


def problems(path: Path, text: str, *overrides: str) -> list[str]:
    """Each without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        load(path, text, *overrides)
    return [problem.replace(f"{path}:", "") for problem in caught.value.problems]


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    return str(caught.value)


def changed(before: Config, now: Config) -> list[str]:
    """Which keys must not be changed on resume, but are."""
    return [line.partition(":")[0] for line in differences(before.decisive(), now)]


# --- text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("+2.5", 2.5), (".5", 0.5), ("-3", -3), ("010", 10), ("60_000", 60000), ("!!float 1", 1.0),
        ("true", True), ("False", False), ("~", None), ("", None), ("[1, a]", [1, "a"]), ("{a: 1e3}", {"a": 1000.0}),
        ("yes", "yes"), ("on", "on"), ("1:30", "1:30"), ("'1'", "1"), ("1.2.3", "1.2.3"), ("2024-01-01", "2024-01-01"),
    ],
)  # fmt: skip
def test_values_are_what_one_expects(text: str, value: object) -> None:
    found = parse(text, "x")
    assert found == value and (type(found) is type(value) or isinstance(found, Keys))


def test_every_key_knows_its_line(path: Path) -> None:
    path.write_text("# one\nname: a\ndata:\n  hr:\n    - x\n    - y\n")
    keys = (("name",), ("data", "hr"), ("data", "hr", 1), ("data", "none"), ("none",))
    places = [f"{path}:2", f"{path}:4", f"{path}:4", f"{path}:3", str(path)]
    assert list(map(read_recipe(path).where, keys)) == places


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", ":3", "not valid YAML"),
        ("a: 1\n\tb: 2\n", ":2", "indent with spaces"),
        ("a: 1\nb: 2\na: 3\n", ":3", "the key a is there twice"),
        ("a: &x 1\nb: *x\n", ":1", "anchors and aliases"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", ":2", "the tag"),
        ("a: !!int x\n", ":1", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", ":2", "not valid YAML"),
        ("? [1, 2]\n: 3\n", ":1", "a key must be a word"),
        ("a: 1\nb: \x07\n", ":2", "not valid YAML"),
        ("a: [\n" + "[\n" * 5000, ":1", "recursion"),
        ("\n".join(["a0: &a0 [ha, ha]", *(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 30))]),
         ":1", "anchors"),  # 9²⁹ laughs
        ("# only a comment\n", "", "empty"),
        ("- a\n- b\n", "", "holds ['a', 'b']; expected keys and values"),
        ("a: 1\n#".ljust(LARGEST + 1, "x"), "", "larger than 64 KiB"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_recipe_is_refused_with_its_line(path: Path, text: str, line: str, words: str) -> None:
    path.write_text(text)
    assert refusal(path).startswith(f"{path}{line}: ") and words in refusal(path)


def test_a_folder_a_missing_file_a_picture_and_a_disk_image_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "photo.yml").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    with (tmp_path / "huge.yml").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte would not fit into memory
    for path, words in (
        (tmp_path, "directory"), (tmp_path / "none.yml", "no such file"), (Path("tinny"), "did you mean tiny?"),
        (tmp_path / "photo.yml", "not a text file"), (tmp_path / "huge.yml", "larger than 64 KiB"),
    ):  # fmt: skip
        assert words in refusal(path)
    (tmp_path / "large.yml").write_bytes(b"\xef\xbb\xbfa: 1\r\n#".ljust(LARGEST, b"x"))
    assert read_recipe(tmp_path / "large.yml") == {"a": 1}, "a byte order mark is not part of the first key"


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("ab:{}[]&*!-?|>'\"#\n \t,%@`~01.", max_size=40)))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse(text, "file")
    except ConfigError as error:
        assert error.problems[0].startswith("file:")


# --- bases and the command line


def test_a_base_gives_what_the_recipe_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    below, above = tmp_path / "below.yml", tmp_path / "sub" / "above.yml"
    below.write_text("a: 1\npart: {x: 1, y: 2}\nlist: [1, 2]\nnetwork: {name: A, gc: 1}\nloss: {layers: {x: 1}}")
    above.write_text("base: ../below.yml\npart:\n  y: 3\nlist: [3]\nb: 4\nnetwork: {name: B}\nloss: {layers: {y: 1}}\n")
    values = read_recipe(above)
    assert values == {
        "a": 1, "part": {"x": 1, "y": 3}, "list": [3], "network": {"name": "B"}, "loss": {"layers": {"y": 1}}, "b": 4,
    }  # fmt: skip
    assert Path(values.where(["a"]).rpartition(":")[0]).resolve() == below.resolve()
    places = [values.where(key) for key in (["part", "y"], ["list", 0], ["network", "gc"])]
    assert places == [f"{above}:3", f"{above}:4", f"{above}:6"] and values.place == str(above)


@pytest.mark.parametrize("base", ["none.yml", "''", "3", "[a.yml]", "~", "recipe.yml", "other.yml"])
def test_a_base_that_cannot_be_read_or_never_ends_is_named_with_its_line(path: Path, base: str) -> None:
    path.write_text(f"a: 1\nbase: {base}\n")
    path.with_name("other.yml").write_text("# builds on the other\nbase: recipe.yml\n")
    place = path.with_name("other.yml") if base == "other.yml" else path
    assert refusal(path).startswith(f"{place}:2: base ")
    assert ("builds on this recipe" in refusal(path)) == (base in ("recipe.yml", "other.yml"))


@pytest.mark.parametrize("name", ["df2k", "dped"])
def test_photos_packed_as_the_papers_recipe_says_fit_it(name: str) -> None:
    packing = re.search(r"otsr pack [^#\n]*", (CONFIGS / f"{name}.yml").read_text("utf-8"))
    assert packing is not None
    said = re.search(r"--cleanup (\d+)", packing[0])
    assert load_config(CONFIGS / f"{name}.yml").data.cleanup == (float(said[1]) if said else 1)


def test_an_error_in_a_base_names_the_base(path: Path) -> None:
    below = path.parent / "below.yml"
    for text, line in ((SMALLEST.replace("batch: 4", "batch: x"), 6), ("a: 1\na: 2\n", 2)):
        below.write_text(text)
        assert problems(path, "base: below.yml\nname: above\n")[0].startswith(f"{below}:{line}: ")


def overridden(text: str, *overrides: str) -> Keys:
    values: Keys = parse(text, "file")
    override(values, overrides)
    return values


def test_the_command_line_has_the_last_word_and_is_named() -> None:
    values = overridden("a: {b: 1, c: [1, 2]}\nz: 1\n", "a.b=1e-3", "a.c=[5]", "d.e.f=x=y", "z=2", "z={y: 3}")
    assert values == {"a": {"b": 1e-3, "c": [5]}, "d": {"e": {"f": "x=y"}}, "z": {"y": 3}}
    places = [values.where(key) for key in (("a", "c", 0), ("d", "e"), ("a",))]
    assert places == ["--set a.c=[5]", "--set d.e.f=x=y", "file:1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [*((text, "expected key=value") for text in ("a", "=3", "a..b=1", ".a=1", "a.=2", "")),
     ("a.b=2", "a is 1, which has no keys"), ("a=[1", "not valid YAML")],
)  # fmt: skip
def test_an_override_that_makes_no_sense_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^--set {re.escape(text)}:.*{words}"):
        overridden("a: 1\n", text)


# --- what is wrong


def test_the_smallest_recipe_has_the_papers_defaults_and_pairs_may_go_without_validation(path: Path) -> None:
    pairs = FULL.replace("degradation: phone", "lr: c") + "validation: {images: 0}\n"
    assert load(path, pairs).data.lr == "c"
    config = load(path, SMALLEST)
    assert (config.seed, config.scale, config.start, config.precision) == (10, 4, None, "auto")
    assert (config.data.hr, config.data.crop, config.data.augment) == (("photos/train",), 128, True)
    adam = config.optimiser
    assert (adam.lr, adam.critic_lr, adam.betas) == (1e-4, 1e-4, (0.9, 0.999))
    assert config.losses.gan.weight == config.losses.transport.weight == 0 and config.critic is None
    assert config.architecture == {"name": "Compact", "nf": 32, "nb": 8, "base": "bicubic", "scale": 4}
    for part, name in ((config, "seed"), (config.losses.pixel, "weight"), (config.every, "log")):
        with pytest.raises((ValueError, AttributeError), match=r"frozen|cannot assign"):
            setattr(part, name, 3)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("steps: 100", "stepss: 100", "2: unknown key stepss; did you mean steps?"),
        ("batch: 4", "batch: 4\n  crops: 32", "7: unknown key data.crops; did you mean data.crop?"),
        ("steps: 100", "steps: 100\nbatch: 8", "3: unknown key batch; did you mean data.batch?"),
        ("{name: Compact}", "{name: Compact, gc: 4}",
         "3: unknown key network.gc; network has the keys name, nf, nb, base"),
        ("{name: Compact}", "{nf: 4}", "3: the key network.name is missing"),
        ("{name: Compact}", "{name: Compakt}",
         "3: network.name is 'Compakt' (text), expected one of RRDBNet, Compact; did you mean Compact?"),
        ("pixel: {weight: 1}", "pixel: {weight: much}", "8: losses.pixel.weight is 'much' (text), expected a number"),
        ("pixel: {weight: 1}", "pixel: {weight: -1}", "8: losses.pixel.weight is -1, expected at least 0"),
        ("pixel: {weight: 1}", "pixel: {weight: .inf}", "8: losses.pixel.weight is inf, expected a finite number"),
        ("batch: 4", "batch: '4'", "6: data.batch is '4' (text), expected a whole number"),
        ("batch: 4", "batch: 4\n  augment: yes", "7: data.augment is 'yes' (text), expected true or false"),
        ("hr: photos/train", "hr: []", "5: data.hr is [], expected at least one"),
        ("hr: photos/train", "hr: [a, 3]", "5: data.hr[1] is 3, expected text"),
        ("hr: photos/train", "hr: [a, photos/val]", "5: data.hr is photos/val, photos for measuring"),
        ("steps: 100", "steps: 100\nvalidation: {hr: photos/test}", "3: validation.hr is photos/test, which must not"),
        ("steps: 100", "", "the key steps is missing"),
        ("steps: 100", "steps: 100\nscale: 3", "3: scale is 3, expected one of 2, 4"),
        ("name: tiny", "name: ../..", "1: name is '../..' (text), expected letters"),
        ("steps: 100", "steps: 100\noptimiser: {betas: [0.9, 1]}", "3: optimiser.betas[1] is 1, expected less than 1"),
        ("weight: 1", "weight: 0", "7: losses has no term with a weight above 0"),
        # What does not go together.
        ("crop: 64", "crop: 66", "7: data.crop is 66, expected a multiple of the scale, 4"),
        ("degradation: phone", "degradation: phone\n  lr: c", "6: data.degradation is set, but so is data.lr"),
        ("degradation: phone", "lr: c", "validation.lr is missing, but data.lr is set"),
        ("degradation: phone", "lr: c\n  cleanup: 2", "7: data.cleanup is 2, but lr is set"),
        ("steps: 100", "steps: 100\nvalidation: {lr: a, cleanup: 2}", "3: validation.cleanup is 2, but lr is set"),
        ("conv3: 1", "conv5_4: 1", "11: losses.perceptual.layers.conv5_4 is not a layer of alex, which has conv1,"),
        ("{conv3: 1}", "{}", "11: losses.perceptual.layers is empty, expected at least one"),
        ("pixel: {weight: 1}", "transport: {weight: 1, window: 129}",
         "8: losses.transport.window is 129, expected at most the crop, 128"),
        ("patch: 32", "patch: 65", "12: losses.gan.patch is 65, expected at most the crop, 64"),
        ("gan: {weight: 1,", "gan: {weight: 0,", "13: critic is set, but losses.gan.weight is 0"),
        ("critic: {name: patch, norm: spectral}", "critic:", "12: losses.gan needs a critic"),
        ("name: patch,", "name: vgg, layers: 3,", "13: critic.layers is set, but only name: patch"),
        ("[10, 20]", "[20, 10]", "16: optimiser.schedule.milestones is [20, 10]; expected ascending"),
        ("kind: multistep,", "kind: constant,", "16: optimiser.schedule.milestones is set, but only kind: multistep"),
        (", milestones: [10, 20]", "", "16: optimiser.schedule.milestones is missing"),
        ("[10, 20]", "[10], floor: 1e-7", "16: optimiser.schedule sets periods or floor"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(path: Path, old: str, new: str, problem: str) -> None:
    whole = SMALLEST if old in SMALLEST else FULL
    assert old in whole
    found = problems(path, whole.replace(old, new, 1))
    assert any(problem in line for line in found), found


def test_the_layers_that_a_recipe_may_name_are_those_of_the_backbone() -> None:
    assert all(set(layers) <= set(layer_names(name)) for name, layers in DEFAULT_LAYERS.items())
    known = {"alex": AlexFeatures.channels, "patches": Patches.spacing, "details": Details.spacing}
    assert all(layer_names(name) == list(layers) for name, layers in known.items())


def test_errors_on_the_command_line_are_named_as_such(path: Path) -> None:
    found = problems(path, SMALLEST, "losses.gan.knd=gan", "data.crop=130x", "losses.edge.kind=sobel")
    edges = "unknown key losses.edge.kind; remove it: edges are always Sobel's"
    assert sorted(found) == [
        "--set data.crop=130x: data.crop is '130x' (text), expected a whole number",
        f"--set losses.edge.kind=sobel: {edges}",
        "--set losses.gan.knd=gan: unknown key losses.gan.knd; did you mean losses.gan.kind?",
    ]
    (found,) = problems(path, SMALLEST, "data.crop=130")
    assert found == "--set data.crop=130: data.crop is 130, expected a multiple of the scale, 4"


def test_what_a_later_room_finds_is_named_with_its_line_even_in_another_process(path: Path) -> None:
    config = load(path, FULL, "start=none.safetensors")
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    for one in (config, again):
        assert str(one.error("data.hr", "is empty")) == f"{path}:5: data.hr is empty"
        assert str(one.error("start", "?")) == "--set start=none.safetensors: start ?"
        assert str(one.error("validation.hr", "?")) == f"{path}: validation.hr ?"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_dumped_recipe_is_read_to_the_same_awkward_text_included(recipe: Path, path: Path) -> None:
    awkward = "data.hr=['no', '1e3', '010', '1:30', 'ü: #x', '~', ' a\\n', 'true', '-']"
    for changes in ([], [awkward, "start='null'"]):
        config = load_config(recipe, changes)
        again = load(path, dump(config))
        assert again == config and again.fingerprint() == config.fingerprint()
        assert not changed(config, again)
        assert yaml.safe_load(dump(config))["optimiser"]["lr"] == config.optimiser.lr


# --- what decides the course of a training


@pytest.mark.parametrize(
    "change", ["name=other", "steps=7", "every={validate: 9}", "data.workers=0", "validation.images=3"]
)
def test_what_may_change_on_resume_leaves_the_fingerprint(path: Path, change: str) -> None:
    before, now = load(path, FULL), load(path, FULL, change)
    assert before != now and before.fingerprint() == now.fingerprint() and not changed(before, now)


@pytest.mark.parametrize(
    "change",
    [
        "seed=11", "data.batch=5", "data.augment=false", "network.nf=9", "losses.pixel.weight=2", "clip=5", "ema=0",
        "precision=bf16", "optimiser.lr=1e-3", "start=a.pth", "data.degradation=d", "losses.gan.K=1", "critic.nf=8",
    ],
)  # fmt: skip
def test_what_decides_the_course_changes_the_fingerprint_and_is_named(path: Path, change: str) -> None:
    before, now = load(path, FULL), load(path, FULL, change)
    assert before.fingerprint() != now.fingerprint() and changed(before, now) == [change.partition("=")[0]]


def test_steps_count_where_the_schedule_spans_them(path: Path) -> None:
    cosine = "optimiser.schedule={kind: cosine}"
    short, long = load(path, FULL, cosine), load(path, FULL, cosine, "steps=200")
    assert short.fingerprint() != long.fingerprint()
    assert differences(short.decisive(), long) == ["optimiser.schedule.periods: [100], now [200]"]
    assert load(path, FULL, cosine.replace("}", ", periods: [100]}")).fingerprint() == short.fingerprint()


def test_a_recipe_is_read_without_torch_and_has_one_fingerprint_everywhere(path: Path) -> None:
    config = load(path, FULL)
    shuffled = yaml.safe_load(FULL.replace("1e-4", "1.0e-4"))
    assert Config.model_validate(dict(reversed(shuffled.items()))).fingerprint() == config.fingerprint()
    code = "import sys; from otsr.training import load_config; print(load_config(sys.argv[1]).fingerprint())"
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sys.modules)", str(path)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    fingerprint, *modules = answer.stdout.split()
    assert fingerprint == config.fingerprint()
    assert "otsr.training.recipe" in modules and "torch" not in modules


def leaves(part: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [above, *(leaf for name, value in inner for leaf in leaves(value, (*above, name)))]


def test_any_value_in_any_place_is_read_or_refused_by_name(path: Path) -> None:
    """Every part of a recipe, replaced by things that it is not: no traceback, and each line names a place."""
    whole = yaml.safe_load(FULL.replace("1e-4", "1.0e-4"))
    wrong = (None, True, -1, 0, 2.5, 10**30, "x", [], [[]], {}, {"x": {"y": 1}}, {"name": 3}, [None])
    for key in leaves(whole)[1:]:
        for value in wrong:
            recipe = copy.deepcopy(whole)
            holder = recipe
            for part in key[:-1]:
                holder = holder[part]
            holder[key[-1]] = value
            try:
                load(path, yaml.safe_dump(recipe))
            except ConfigError as error:
                assert all(problem.startswith(f"{path}:") for problem in error.problems), (key, value)
