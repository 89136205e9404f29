"""What a recipe may say: defaults, errors that lead to the line, combinations, round trip, fingerprint."""

from __future__ import annotations

import copy
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from otsr.training import Config, ConfigError, load_config
from otsr.training.combinations import layer_names

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "configs").glob("*.yml"))

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


def test_the_smallest_recipe_has_the_papers_defaults(path: Path) -> None:
    config = load(path, SMALLEST)
    assert (config.seed, config.scale, config.start, config.precision) == (10, 4, None, "auto")
    assert config.data.hr == ("photos/train",) and config.data.crop == 128 and config.data.augment
    assert config.optimiser.lr == config.optimiser.critic_lr == 1e-4
    assert config.optimiser.betas == (0.9, 0.999)
    assert config.losses.gan.weight == config.losses.transport.weight == 0 and config.critic is None
    assert config.architecture == {"name": "Compact", "nf": 32, "nb": 8, "base": "bicubic", "scale": 4}


def test_a_recipe_cannot_be_changed(path: Path) -> None:
    config = load(path, SMALLEST)
    for part, name in (
        (config, "seed"),
        (config.data, "crop"),
        (config.losses.pixel, "weight"),
        (config.every, "log"),
    ):
        with pytest.raises((ValueError, AttributeError), match=r"frozen|cannot assign"):
            setattr(part, name, 3)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("steps: 100", "stepss: 100", "2: unknown key stepss; did you mean steps?"),
        ("batch: 4", "batch: 4\n  crops: 32", "7: unknown key data.crops; did you mean data.crop?"),
        ("steps: 100", "steps: 100\nbatch: 8", "3: unknown key batch; did you mean data.batch?"),
        ("steps: 100", "steps: 100\ngamma: 8", "3: unknown key gamma; did you mean losses.gan.gamma?"),
        ("{name: Compact}", "{name: Compact, gc: 4}",
         "3: unknown key network.gc; network has the keys name, nf, nb, base"),
        ("{name: Compact}", "{nf: 4}", "3: the key network.name is missing"),
        ("{name: Compact}", "{name: Compakt}", "3: network.name is 'Compakt', expected one of RRDBNet, Compact; "
         "did you mean Compact?"),
        ("{name: Compact}", "Compact", "3: network is 'Compact' (text), expected keys and values"),
        ("{name: Compact}", "{name: Compact, nf: 8.5}", "3: network.nf is 8.5, expected a whole number"),
        ("pixel: {weight: 1}", "pixel: {weight: much}", "8: losses.pixel.weight is 'much' (text), expected a number"),
        ("pixel: {weight: 1}", "pixel: {weight: true}", "8: losses.pixel.weight is true, expected a number"),
        ("pixel: {weight: 1}", "pixel: {weight: -1}", "8: losses.pixel.weight is -1, expected at least 0"),
        ("pixel: {weight: 1}", "pixel: {weight: .inf}", "8: losses.pixel.weight is inf, expected a finite number"),
        ("pixel: {weight: 1}", "edge: {kind: sobol}",
         "8: losses.edge.kind is 'sobol' (text), expected one of sobel, canny; did you mean sobel?"),
        ("batch: 4", "batch: '4'", "6: data.batch is '4' (text), expected a whole number"),
        ("batch: 4", "batch: 0", "6: data.batch is 0, expected at least 1"),
        ("batch: 4", "batch: 4\n  augment: yes", "7: data.augment is 'yes' (text), expected true or false"),
        ("batch: 4", "batch: 4\n  hr: []", ": the key hr stands twice"),
        ("hr: photos/train", "hr: []", "5: data.hr is [], expected at least 1 values"),
        ("hr: photos/train", "hr: [a, 3]", "5: data.hr[1] is 3, expected text"),
        ("hr: photos/train", "hr: 3", "5: data.hr is 3, expected a list, such as [1, 2]"),
        ("hr: photos/train", "lr: a", "4: the key data.hr is missing"),
        ("steps: 100", "", "the key steps is missing"),
        ("steps: 100", "steps: 100\nscale: 3", "3: scale is 3, expected one of 2, 4"),
        ("steps: 100", "steps: 100\nscale: '4'", "3: scale is '4' (text), expected one of 2, 4"),
        ("steps: 100", "steps: 100\nema: 1", "3: ema is 1, expected less than 1"),
        ("name: tiny", "name: a/b", "1: name is 'a/b' (text), expected letters, digits, dots, dashes and underscores"),
        ("name: tiny", "name: ../..", "1: name is '../..' (text), expected letters"),
        ("name: tiny", "name: 3", "1: name is 3, expected text"),
        ("steps: 100", "steps: 100\nstart: 3", "3: start is 3, expected text"),
        ("steps: 100", "steps: 100\nstart: {weights: a}", "3: the key start.blocks is missing"),
        ("steps: 100", "steps: 100\nstart:\n  block: [0]", "4: unknown key start.block; did you mean start.blocks?"),
        ("steps: 100", "steps: 100\nstart: {blocks: [0, -1]}", "3: start.blocks[1] is -1, expected at least 0"),
        ("steps: 100", "steps: 100\nevery: {logs: 3}", "3: unknown key every.logs; did you mean every.log?"),
        ("steps: 100", "steps: 100\nevery: 3", "3: every is 3, expected keys and values"),
        ("steps: 100", "steps: 100\nevery: {log: 0}", "3: every.log is 0, expected at least 1"),
        ("steps: 100", "steps: 100\nvalidation:", "3: validation is nothing, expected keys and values"),
        ("steps: 100", "steps: 100\noptimiser: {betas: [0.9]}", "3: optimiser.betas is [0.9], expected more values"),
        ("steps: 100", "steps: 100\noptimiser: {betas: [0.9, 1]}", "3: optimiser.betas[1] is 1, expected less than 1"),
        ("steps: 100", "steps: 100\noptimiser: {betas: [0, 0, 0]}", "3: optimiser.betas is [0, 0, 0], expected at"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(path: Path, old: str, new: str, problem: str) -> None:
    assert old in SMALLEST
    found = problems(path, SMALLEST.replace(old, new, 1))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("crop: 64", "crop: 66", "7: data.crop is 66, expected a multiple of the scale, 4"),
        ("degradation: phone", "degradation: phone\n  lr: c", "6: data.degradation is given, and data.lr too"),
        ("degradation: phone", "lr: c", "validation.lr is missing, and data.lr is given"),
        ("degradation: phone", "lr: c\n  cleanup: 2", "7: data.cleanup is 2, and data.lr is given"),
        ("steps: 100", "steps: 100\nvalidation: {lr: a, cleanup: 2}", "3: validation.cleanup is 2, but pairs"),
        ("crop: 64\n  batch: 4\nlosses:", "crop: 48\n  batch: 4\nlosses:\n  views: true",
         "10: losses.views is true and leaves too little of a crop of 48"),
        ("nb: 1", "nb: 1, unshuffle: 2", "3: network.unshuffle is 2, which needs the scale 2, not 4"),
        ("gc: 4}", "gc: 4}\nstart: {weights: a, blocks: [0, 1]}",
         "4: start.blocks are 2, expected 1 as network.nb says"),
        ("gc: 4}", "gc: 4}\nstart: {weights: a, blocks: [1, 1]}",
         "4: start.blocks are [1, 1], expected them in ascending order, each once"),
        ("RRDBNet, nf: 8, nb: 1, gc: 4}", "Compact}\nstart: {weights: a, blocks: [0]}",
         "4: start.blocks are given, but only an RRDBNet has such, and network.name is Compact"),
        ("conv3: 1", "conv5_4: 1", "11: losses.perceptual.layers.conv5_4 is unknown: alex has no such layer; it has"),
        ("{conv3: 1}", "{}", "11: losses.perceptual.layers is empty"),
        ("pixel: {weight: 1}", "pixel: {weight: 1}\n  transport: {weight: 1, window: 65}",
         "11: losses.transport.window is 65, expected at most the crop, 64"),
        ("patch: 32", "patch: 65", "12: losses.gan.patch is 65, expected at most the crop, 64"),
        ("gan: {weight: 1,", "gan: {weight: 0,", "13: critic is given, but losses.gan.weight is 0"),
        ("critic: {name: patch, norm: spectral}", "critic:", "12: losses.gan needs a critic"),
        ("name: patch,", "name: vgg, layers: 3,", "13: critic.layers is given, but belongs to name: patch"),
        ("[10, 20]", "[20, 10]", "16: optimiser.schedule.milestones are [20, 10], expected them in order"),
        ("kind: multistep,", "kind: constant,", "16: optimiser.schedule.milestones belong to kind: multistep"),
        (", milestones: [10, 20]", "", "16: optimiser.schedule.milestones are missing"),
        ("[10, 20]", "[10], floor: 1e-7", "16: optimiser.schedule has periods, restart_weights or floor"),
        ("multistep, milestones: [10, 20]", "cosine, periods: [5, 5], restart_weights: [1]",
         "16: optimiser.schedule.restart_weights has 1 values, expected one for each of the 2 periods"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named_with_its_line(
    path: Path, old: str, new: str, problem: str
) -> None:
    assert old in FULL
    found = problems(path, FULL.replace(old, new, 1))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize("name", ["alex", "vgg16", "vgg19"])
def test_the_layers_that_a_recipe_may_name_are_those_of_the_backbone(name: str) -> None:
    from otsr.networks import perceptual
    from otsr.networks.features import AlexFeatures

    assert set(perceptual.DEFAULT_LAYERS[name]) <= set(layer_names(name))
    if name == "alex":
        assert layer_names(name) == list(AlexFeatures.channels)
        return
    with pytest.raises(ValueError, match="expected some of") as caught:
        perceptual.VGG(perceptual._BLOCKS[name], (), shift_tolerant=False)
    assert sorted(str(caught.value).split("some of ")[1].split(", ")) == sorted(layer_names(name))


def test_a_recipe_that_would_learn_nothing_is_refused(path: Path) -> None:
    assert (
        "7: losses have no term of a weight above 0"
        in problems(path, SMALLEST.replace("weight: 1", "weight: 0"))[0]
    )


def test_pairs_may_go_without_validation(path: Path) -> None:
    text = FULL.replace("degradation: phone", "lr: c") + "validation: {images: 0}\n"
    assert load(path, text).data.lr == "c"


def test_all_problems_are_named_at_once(path: Path) -> None:
    text = SMALLEST.replace("steps: 100", "stepss: 100").replace("batch: 4", "batch: 0")
    assert len(problems(path, text)) == 3  # unknown key, missing key, too small


def test_an_error_on_the_command_line_is_named_as_such(path: Path) -> None:
    found = problems(path, SMALLEST, "losses.edge.knd=canny", "data.crop=130x")
    assert "--set losses.edge.knd=canny: unknown key losses.edge.knd; did you mean losses.edge.kind?" in found
    assert "--set data.crop=130x: data.crop is '130x' (text), expected a whole number" in found
    assert problems(path, SMALLEST, "data.crop=130") == [
        "--set data.crop=130: data.crop is 130, expected a multiple of the scale, 4"
    ]


def test_an_error_in_the_base_names_the_base(path: Path) -> None:
    (path.parent / "below.yml").write_text(SMALLEST.replace("batch: 4", "batch: x"))
    assert problems(path, "base: below.yml\nname: above\n")[0].startswith(
        f"{path.parent / 'below.yml'}:6: data.batch"
    )


def test_what_a_later_room_finds_is_named_with_its_line(path: Path) -> None:
    config = load(path, FULL, "start=none.safetensors")
    assert str(config.error("data.hr", "is empty")) == f"{path}:5: data.hr is empty"
    assert str(config.error("start", "?")) == "--set start=none.safetensors: start ?"
    assert str(config.error("validation.hr", "?")) == f"{path}: validation.hr ?"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_every_recipe_of_the_repository_can_be_read(recipe: Path) -> None:
    assert load_config(recipe).name


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_dumped_recipe_is_read_to_the_same(recipe: Path, path: Path) -> None:
    config = load_config(recipe)
    again = load(path, config.dump())
    assert again == config and again.fingerprint() == config.fingerprint()
    assert config.differences(again) == []
    assert yaml.safe_load(config.dump())["optimiser"]["lr"] == config.optimiser.lr


def test_a_dumped_recipe_holds_awkward_text(path: Path) -> None:
    config = load(
        path,
        SMALLEST,
        "data.hr=['no', '1e3', '010', '1:30', 'ü: #x', '~', ' a\\n', 'true', '-']",
        "start='null'",
    )
    assert load(path, config.dump()) == config


def test_a_dumped_recipe_holds_the_blocks_that_it_starts_from(path: Path) -> None:
    config = load(path, FULL, "start={weights: realsr-df2k, blocks: [9]}")
    again = load(path, config.dump())
    assert again == config and str(again.start) == "realsr-df2k, blocks 9"
    other = load(path, FULL, "start={weights: realsr-df2k, blocks: [9]}", "start.blocks=[3]")
    assert config.differences(other) == ["start.blocks: [9], now [3]"]
    assert config.fingerprint() not in (
        other.fingerprint(),
        load(path, FULL, "start=realsr-df2k").fingerprint(),
    )


def test_a_recipe_can_be_sent_to_another_process(path: Path) -> None:
    config = load(path, FULL)
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    assert str(again.error("data.hr", "x")) == str(config.error("data.hr", "x"))


SAME = [
    "name=other",
    "steps=7",
    "every.log=3",
    "every={validate: 9}",
    "data.workers=0",
    "validation.images=3",
]
DIFFERENT = [
    "seed=11", "data.batch=5", "data.crop=96", "data.augment=false", "network.nf=9", "losses.pixel.weight=2", "clip=5",
    "ema=0", "precision=bf16", "channels_last=false", "optimiser.lr=1e-3", "start=a.pth", "data.degradation=d",
    "losses.gan.K=1", "critic.nf=8",
]  # fmt: skip


@pytest.mark.parametrize("change", SAME)
def test_what_may_change_on_resume_leaves_the_fingerprint(path: Path, change: str) -> None:
    config, changed = load(path, FULL), load(path, FULL, change)
    assert config != changed
    assert config.fingerprint() == changed.fingerprint()
    assert config.differences(changed) == []


@pytest.mark.parametrize("change", DIFFERENT)
def test_what_decides_the_course_changes_the_fingerprint_and_is_named(path: Path, change: str) -> None:
    config, changed = load(path, FULL), load(path, FULL, change)
    assert config.fingerprint() != changed.fingerprint()
    key = change.partition("=")[0]
    assert [line.partition(":")[0] for line in config.differences(changed)] == [key]


def test_differences_say_before_and_now(path: Path) -> None:
    config, changed = load(path, FULL), load(path, FULL, "data.crop=96")
    assert config.differences(changed) == ["data.crop: 64, now 96"]


def test_steps_count_where_the_schedule_spans_them(path: Path) -> None:
    schedule = "optimiser.schedule={kind: cosine}"
    short, long = load(path, FULL, schedule), load(path, FULL, schedule, "steps=200")
    assert short.fingerprint() != long.fingerprint()
    assert short.differences(long) == ["optimiser.schedule.periods: [100], now [200]"]
    whole = load(path, FULL, "optimiser.schedule={kind: cosine, periods: [100]}")
    assert whole.fingerprint() == short.fingerprint()


def test_fingerprint_is_the_same_in_every_process_and_order(path: Path) -> None:
    config = load(path, FULL)
    shuffled = yaml.safe_load(FULL.replace("1e-4", "1.0e-4"))
    items = list(shuffled.items())
    random.Random(0).shuffle(items)
    assert Config.model_validate(dict(items)).fingerprint() == config.fingerprint()
    path.write_text(FULL)
    code = f"from otsr.training import load_config; print(load_config({str(path)!r}).fingerprint())"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}, check=True
    )
    assert other.stdout.strip() == config.fingerprint()


def test_a_recipe_is_read_without_torch(path: Path) -> None:
    path.write_text(FULL)
    code = (
        f"import sys; from otsr.training import load_config; load_config({str(path)!r}); print(*sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "otsr.training.config" in answer.stdout.split() and "torch" not in answer.stdout.split()


def leaves(part: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [above, *(leaf for name, value in inner for leaf in leaves(value, (*above, name)))]


def test_any_value_in_any_place_is_read_or_refused_by_name(path: Path) -> None:
    """Every part of a recipe, replaced by things that it is not: no traceback, and each line names a place."""
    whole = yaml.safe_load(FULL.replace("1e-4", "1.0e-4"))
    for key in leaves(whole)[1:]:
        for value in (
            None,
            True,
            -1,
            0,
            2.5,
            10**30,
            "x",
            [],
            [[]],
            {},
            {"x": {"y": 1}},
            {"name": 3},
            [None],
        ):
            recipe = copy.deepcopy(whole)
            holder = recipe
            for part in key[:-1]:
                holder = holder[part]
            holder[key[-1]] = value
            try:
                load(path, yaml.safe_dump(recipe))
            except ConfigError as error:
                assert all(problem.startswith(f"{path}:") for problem in error.problems), (key, value)
