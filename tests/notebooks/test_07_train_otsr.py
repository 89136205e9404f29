"""What notebook 07 writes from scratch is what the package does, and its claims about recipes hold."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
import torch
from safetensors.torch import load_file
from test_style import ROOT, markdown
from torch import Tensor, nn

from otsr import training
from otsr.networks.generators import build
from otsr.training import load_config
from otsr.training.batches import Batch, TrainingBatches
from otsr.training.losses import Losses, transport_distance
from otsr.training.runtime import rate
from otsr.training.schema import Transport

TINY = ROOT / "configs" / "tiny.yml"
HERE = ["precision=fp32", "data.workers=0", "data.degradation=null", "validation.images=0"]

GLOBALS = ("recipes", "alexnet", "RECIPE", "larger")


@pytest.fixture(scope="module")
def text() -> str:
    return markdown(nbformat.read(ROOT / "notebooks" / "07_train_otsr.ipynb", as_version=4))


def test_its_transport_is_the_term_of_the_recipe(written: Any) -> None:
    losses = load_config(TINY).losses
    sr, hr = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = Losses(losses)(sr, hr)["transport"]
    torch.testing.assert_close(losses.transport.weight * written.transport(sr, hr), expected)


def test_the_solution_of_its_first_exercise_is_the_package_s_windowed_term(text: str) -> None:
    namespace: dict[str, Any] = {}
    exec(re.search(r"```python\n(def my_windows.*?)```", text, re.DOTALL)[1], namespace)
    x, y = torch.rand(2, 2, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    for k in (1, 2, 4):
        term = Transport(weight=1.0, window=k, layers={"conv1_1": 1.0})
        theirs = transport_distance({"conv1_1": x}, {"conv1_1": y}, term, crop=x.shape[-1])
        torch.testing.assert_close(namespace["my_windows"](x, y, k), theirs)


class Probe(nn.Module):
    """A network of one weight, whose gradient is always 1: what the loop does to it can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))

    def forward(self, lr: Tensor) -> Tensor:
        return lr + self.weight


def test_its_rate_and_average_are_the_package_s(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a constant gradient Adam's step is the learning rate."""
    config = load_config(TINY, [*HERE, "losses.transport.weight=0", "steps=30", "optimiser.lr=0.1"])
    zero = torch.zeros(1, 3, 4, 4)
    batches = SimpleNamespace(batch=lambda step: Batch(zero, zero, None))
    monkeypatch.setattr(written, "starting_generator", lambda config: Probe())
    kept, story = written.train(config, batches, keep=(0, 7))
    weight = average = 10.0
    for step in range(config.steps):
        if step in kept:
            assert kept[step].weight.item() == pytest.approx(average, rel=1e-5)
        assert story[step].item() == pytest.approx(weight, rel=1e-5)
        weight -= rate(config.optimiser.schedule, step, config.steps, config.optimiser.lr)
        average += (1 - min(config.ema, (1 + step) / (10 + step))) * (weight - average)
    assert kept[config.steps].weight.item() == pytest.approx(average, rel=1e-5)


def test_its_loop_makes_the_weights_of_otsr_train(written: Any, tmp_path: Path) -> None:
    config = load_config(TINY, [*HERE, "steps=4", "data.batch=2"])
    batches = TrainingBatches(config.data, config.scale, config.seed)
    ours, _ = written.train(config, batches)
    training.train(config, tmp_path / "run", progress=False)
    theirs = load_file(tmp_path / "run" / "last.safetensors")
    for name, weight in ours[4].state_dict().items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_its_bill_is_that_of_the_network_whose_convolutions_are_nearly_all(written: Any, name: str) -> None:
    """A convolution: forward, the gradient of its weights and, for all but the first, that of its input."""
    config = load_config(ROOT / "configs" / f"{name}.yml")
    network, bill = build(config.architecture), written.bill(name)
    assert bill["parameters"] == sum(weight.numel() for weight in network.parameters())
    assert bill["pixels"] == config.steps * config.data.batch * config.data.crop**2
    if name == "tiny":
        places = config.data.batch * (config.data.crop // config.scale) ** 2
        sizes = [one.weight.numel() for one in network.modules() if isinstance(one, nn.Conv2d)]
        counted = config.steps * places * 2 * (3 * sum(sizes) - sizes[0])
        assert counted < bill["operations"] < 1.01 * counted  # the rest enlarges the input


def test_what_is_left_of_an_average_is_what_the_package_leaves(written: Any) -> None:
    share = math.prod(min(0.95, (1 + step) / (10 + step)) for step in range(50, 100))
    assert written.left(50, 100, 0.95) == pytest.approx(share)


def test_the_processes_of_its_torchrun_line_can_share_the_batch(text: str) -> None:
    line = re.search(r"--nproc-per-node (\d+) -m otsr train configs/([\w-]+\.yml)", text)
    assert line and load_config(ROOT / "configs" / line[2]).data.batch % int(line[1]) == 0


@pytest.mark.parametrize(
    ("name", "record"),
    [
        *((name, "curves") for name in ("psnr-small", "otsr-small", "gan-small")),
        *((name, "general") for name in ("general-psnr", "general", "taught")),
    ],
)
def test_the_recorded_runs_are_those_of_the_recipes_as_they_are(name: str, record: str) -> None:
    found = json.loads((ROOT / "data" / "training" / f"{record}.json").read_text(encoding="utf-8"))[name]
    config = load_config(ROOT / "configs" / f"{name.replace('otsr-small', 'small')}.yml")
    assert config.name == name
    assert set(found["losses"]) == {key for key, term in config.losses if getattr(term, "weight", 0)}
    assert all(losses[-1][0] == config.steps for losses in found["losses"].values())
    due = range(config.every.validate, config.steps + 1, config.every.validate)
    assert all([step for step, _ in scores] == [*due] for scores in found.get("scores", {}).values())


def test_the_training_for_a_gpu_is_one_that_a_recipe_allows(written: Any) -> None:
    """The cell that holds it is never run where there is no CUDA."""
    config = load_config(written.recipes / f"{written.RECIPE}.yml", written.larger)
    assert (config.steps, config.data.batch, config.start) == (2000, 16, "otsr")
