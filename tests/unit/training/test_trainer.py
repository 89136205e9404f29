"""A step of the trainer against the same step written out, and when what is checked at, measured and kept."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from small_training import paint, write_recipe
from torch import Tensor, nn

from otsr.training import Config, checkpoints, load_config
from otsr.training.batches import Batch
from otsr.training.monitor import NotFinite
from otsr.training.trainer import Result, Trainer, train
from otsr.training.validation import append_scores, improves

RECIPE = """\
name: tiny
steps: 6
network: {name: Compact, nf: 4, nb: 1}
data: {hr: PHOTOS, crop: 16, batch: 2, workers: 0}
validation: {hr: PHOTOS, images: 0}
losses: {pixel: {weight: 1}}
optimiser: {lr: 1e-2, betas: [0.8, 0.9], schedule: {kind: multistep, milestones: [2], factor: 0.1}}
precision: fp32
channels_last: false
every: {validate: 2, checkpoint: 6, log: 1, pictures: 6}
"""
GAN = ("losses.gan={weight: 0.5, kind: gan}", "critic={name: patch, nf: 4}")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, RECIPE, 24, 28)


def config(recipe: Path, *settings: str) -> Config:
    return load_config(recipe, settings)


def trainer(recipe: Path, *settings: str, resume: bool = False) -> Trainer:
    return Trainer(config(recipe, *settings), recipe.parent / "run", resume=resume)


def step(made: Trainer) -> None:
    made.update(made.batches.batch(made.step))
    made.step += 1


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_steps_are_adams_on_the_mean_absolute_difference_with_the_rate_of_the_step(recipe: Path) -> None:
    made = trainer(recipe)
    twin = copy.deepcopy(made.generator)
    first, second = torch.zeros(2, len(weights(twin)))
    for number, rate in enumerate((1e-2, 1e-2, 1e-3), 1):
        batch = made.batches.batch(made.step).to()
        step(made)
        gradients = torch.autograd.grad((twin(batch.lr) - batch.hr).abs().mean(), list(twin.parameters()))
        gradient = torch.cat([gradient.flatten() for gradient in gradients])
        first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * gradient**2
        change = rate * (first / (1 - 0.8**number)) / ((second / (1 - 0.9**number)).sqrt() + 1e-8)
        nn.utils.vector_to_parameters(weights(twin) - change, twin.parameters())
        torch.testing.assert_close(weights(made.generator), weights(twin), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("ema", "decays"), [(0.15, (0.1, 0.15, 0.15)), (0.0, (0.0, 0.0))])
def test_the_average_forgets_faster_at_the_beginning(recipe: Path, ema: float, decays: tuple[float, ...]) -> None:
    made = trainer(recipe, f"ema={ema}")
    expected = weights(made.generator)
    for decay in decays:  # (1 + step) / (10 + step), at most ema
        step(made)
        expected = decay * expected + (1 - decay) * weights(made.generator)
        torch.testing.assert_close(weights(made.average), expected)
    assert not any(parameter.requires_grad for parameter in made.average.parameters())


def test_a_gradient_is_clipped_to_the_norm_of_the_recipe_and_the_true_norm_is_told(recipe: Path) -> None:
    free, clipped, scaled = trainer(recipe), trainer(recipe, "clip=0.001"), trainer(recipe, "clip=0.001")
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)  # as fp16 needs it
    for made in (free, clipped, scaled):
        step(made)
    for made in (clipped, scaled):
        gradients = torch.cat([p.grad.flatten() for p in made.generator.parameters() if p.grad is not None])
        assert float(gradients.norm()) == pytest.approx(0.001, rel=1e-3)
    assert clipped.numbers["gradient"] == pytest.approx(free.numbers["gradient"])
    assert free.numbers["gradient"] > 0.01


def test_the_generator_follows_the_critic_before_the_critics_own_step(recipe: Path) -> None:
    made = trainer(recipe, *GAN)
    assert made.adversary is not None
    batch = made.batches.batch(0).to()
    scores = made.adversary.critic(2 * made.generator(batch.lr) - 1)
    expected = 0.5 * nn.functional.softplus(-scores).mean()
    before = weights(made.adversary.critic)
    step(made)
    assert made.numbers["gan"] == pytest.approx(expected.item(), rel=1e-5)
    assert not torch.equal(before, weights(made.adversary.critic))


def test_a_step_that_is_not_finite_is_not_taken(recipe: Path) -> None:
    made = trainer(recipe, *GAN)
    assert made.adversary is not None
    step(made)
    networks = (made.generator, made.average, made.adversary.critic)
    before = [weights(network) for network in networks]
    lr, hr, _ = made.batches.batch(1).to()
    hr[0, 0, 0, 0] = float("nan")
    problem = r"step 1: pixel and critic gradient.* not finite, from .*a\.png at column"
    with pytest.raises(NotFinite, match=problem):
        made.update(Batch(lr, hr, None))
    assert all(torch.equal(weights(network), old) for network, old in zip(networks, before, strict=True))


def test_a_fault_that_nobody_checked_at_is_found_at_the_next_check(recipe: Path) -> None:
    made = trainer(recipe)
    lr, hr, _ = made.batches.batch(0).to()
    made.update(Batch(lr, hr * float("inf"), None), check=False)
    made.step += 1
    with pytest.raises(NotFinite, match=r"step 0: pixel not finite.*--set every\.log=1"):
        step(made)


def test_gradients_that_no_scale_makes_finite_are_named_though_fp16_leaves_such_steps_out(
    recipe: Path,
) -> None:
    made = trainer(recipe)
    made.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-9)
    for parameter in made.generator.parameters():
        parameter.register_hook(lambda gradient: gradient * float("nan"))
    before = weights(made.generator)
    step(made)
    step(made)
    assert made.scaler.get_scale() == 2.0**-11
    made.folder.mkdir()
    made._save()
    assert checkpoints.load(made.folder)["scaler"]["scale"] == 2.0**-11
    with pytest.raises(NotFinite, match=r"step 2: gradient not finite"):
        step(made)
    assert torch.equal(weights(made.generator), before)


@pytest.mark.parametrize(("device", "expected"), [("cpu", [0, 1, 2, 3, 4, 5, 6]), ("cuda", [2, 3, 5, 6])])
def test_on_cuda_numbers_are_read_only_before_something_that_is_due(
    recipe: Path, device: str, expected: list[int]
) -> None:
    made = trainer(recipe, "steps=7", "every={log: 3, validate: 4, checkpoint: 100}")
    made.device = torch.device(device)
    checked = []
    for made.step in range(7):
        checked += [made.step] if made._check_due() else []
    assert checked == expected


# --- scores


@pytest.mark.parametrize("settings", [(), ("losses.perceptual.weight=1",), GAN])
def test_fidelity_is_judged_by_psnr_and_all_else_by_looks(recipe: Path, settings: tuple[str, ...]) -> None:
    losses, before = config(recipe, *settings).losses, {"psnr_y": 20.0, "st_lpips": 0.5}
    faithful, sharp = {"psnr_y": 21.0, "st_lpips": 0.6}, {"psnr_y": 19.0, "st_lpips": 0.4}
    better, worse = (sharp, faithful) if settings else (faithful, sharp)
    assert improves(better, before, losses) and not improves(worse, before, losses)
    assert improves(worse, {}, losses)
    assert not improves({}, before, losses) and not improves({}, {"niqe": 5.0}, losses), "no photo defines it"


def first_column(table: Path) -> list[str]:
    return [row.split("\t")[0] for row in table.read_text().splitlines()]


def test_a_line_of_scores_replaces_those_of_its_step_and_later(tmp_path: Path) -> None:
    for number in (2, 4, 6, 4):
        append_scores(tmp_path / "a.tsv", number, {"psnr_y": float(number)})
    assert first_column(tmp_path / "a.tsv") == ["step", "2", "4"]


def scored(recipe: Path, psnr: list[float], *settings: str, resume: bool = False) -> Result:
    """A training whose validations find these."""
    found = iter(psnr)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otsr.training.trainer.validate", lambda *_: ({"psnr_y": next(found)}, {}))
        chosen = config(recipe, "validation.images=1", *settings)
        return train(chosen, recipe.parent / "run", resume, progress=False)


def test_the_best_average_is_kept_by_the_metric_of_the_recipe(recipe: Path) -> None:
    table = recipe.parent / "run" / "validation.tsv"
    table.parent.mkdir()
    table.write_text("step\tpsnr_y\n1\t9\n")  # of a training that was killed before its first checkpoint
    result = scored(recipe, [20.0, 22.0, 21.0])
    assert (result.step, result.scores) == (6, {"psnr_y": 22.0})
    for name, at in (("best", "4"), ("last", "6")):
        with safe_open(result.folder / f"{name}.safetensors", "pt") as file:
            assert {"steps": at, "recipe": "tiny", "seed": "10"}.items() <= file.metadata().items()
    assert first_column(table) == ["step", "2", "4", "6"]
    again = train(config(recipe, "validation.images=1"), result.folder, resume=True, progress=False)
    assert again == result, "a finished training that is resumed is finished"


def test_a_resumed_training_knows_its_step_its_rates_and_its_best(recipe: Path) -> None:
    settings = (*GAN, "validation.images=1", "optimiser.critic_lr=1e-3")
    scored(recipe, [22.0, 21.0], *settings, "steps=3")
    made = trainer(recipe, *settings, resume=True)
    assert (made.step, made.best) == (3, {"psnr_y": 22.0})
    step(made)
    assert made.adversary is not None
    rates = [adam.param_groups[0]["lr"] for adam in (made.optimiser, made.adversary.optimiser)]
    assert rates == pytest.approx([1e-3, 1e-4])  # a tenth, from step 2 on


def test_scores_on_other_photos_are_not_compared_after_a_resume(recipe: Path) -> None:
    scored(recipe, [30.0, 31.0, 32.0])
    paint(recipe.parent / "harder" / "a.png", 24, 28)
    harder = f"validation.hr={recipe.parent / 'harder'}"
    assert scored(recipe, [20.0, 19.0], "steps=10", harder, resume=True).scores == {"psnr_y": 20.0}


def test_curves_have_every_point_once_after_a_resume_and_none_of_a_run_before(recipe: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    # TensorBoard sorts names that end with a count, so the tenth file of a second comes before the ninth. Now the first
    # run here is a ninth (or 99th ...).
    other, count = recipe.parent / "other", 0
    while set(str(count + 1)) != {"9"}:
        SummaryWriter(str(other)).close()
        count = max(int(file.suffix[1:]) for file in other.iterdir())

    run = recipe.parent / "run"
    for end, resume in ((4, False), (6, True), (3, False)):
        if not resume:
            (run / checkpoints.NAME).unlink(missing_ok=True)
        train(config(recipe, f"steps={end}"), run, resume=resume, progress=False)
        journal = EventAccumulator(str(run / "log"))
        journal.Reload()
        assert [event.step for event in journal.Scalars("loss/pixel")] == list(range(1, end + 1))
