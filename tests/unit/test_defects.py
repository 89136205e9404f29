"""Thirteen mistakes of the published code, each a test: the rule as published, that it fails, that ours does not.

They are numbered in the order in which they meet whoever trains with that code. A docstring says what the published
code does; its rule is rendered in a few lines inside the test, so that what goes wrong can be read there.
"""

import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from scipy.optimize import linprog
from torch import Tensor, nn

import otsr
from otsr import images
from otsr.degradation import Degradation, collect_noise, kernelgan, kernels
from otsr.degradation.noise import DegradationError
from otsr.inference import Upscaler, back_project
from otsr.networks.critics import PatchCritic, VGGCritic
from otsr.networks.generators import Compact
from otsr.training import load_config, schema
from otsr.training.adversary import Adversary
from otsr.training.losses import edge_distance, sobel
from otsr.training.schema import ConfigError
from otsr.training.sources import pack
from otsr.training.store import Store
from otsr.transport import barycentric_map, potentials, quadratic_cost
from otsr.transport.critic import critic_loss, generator_loss, regularity_loss

ROOT = Path(__file__).parents[2]


def batches() -> Tensor:
    """(2, 6, 3, 8, 8): reals and fakes, images in [−1, 1]."""
    return 2 * torch.rand(2, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 1


def squares(real: Tensor, fake: Tensor) -> Tensor:
    """‖y_j − x_i‖², (reals, fakes), written out."""
    return (real[:, None].double() - fake.double()).flatten(2).square().sum(2)


def test_1_boxed_potentials_are_constants_ours_depend_on_the_samples() -> None:
    """Potentials boxed into [0, 1] beside costs far above 1: every label is 1 for reals and 0 for fakes."""
    real, fake = batches()
    # The published programme: max mean h − mean g, h_j − g_i ≤ cost, all of them within [0, 1].
    rows = np.hstack([np.kron(np.eye(6), np.ones((6, 1))), -np.kron(np.ones((6, 1)), np.eye(6))])
    objective = [-1 / 6] * 6 + [1 / 6] * 6
    found = []
    for seen in (fake, fake.flip(0) / 2, real + 0.1):
        cost = (2 * squares(real, seen)).numpy().ravel()
        assert (linprog(objective, A_ub=rows, b_ub=cost, bounds=(0, 1)).x == [1] * 6 + [0] * 6).all()
        found.append(potentials(quadratic_cost(real, seen, K=1.0)))
        assert found[-1].real.std() > 0.1 and found[-1].fake.std() > 0.1
    assert (found[0].fake - found[1].fake).abs().max() > 1


def test_2_the_loss_changes_when_labels_are_permuted() -> None:
    """(B, 1) − (B,) broadcasts to (B, B): the fake term does not see which label belongs to which sample."""
    labels = potentials(quadratic_cost(*batches()))
    scores = labels.fake.float()[:, None]  # a perfect critic
    published = [(scores.roll(k, 0) - labels.fake.float()).square().mean() for k in (0, 1)]
    assert (scores - labels.fake).shape == (6, 6) and torch.allclose(published[0], published[1])
    right, wrong = (critic_loss(labels.real.float(), scores.roll(k, 0), labels) for k in (0, 1))
    assert right < 1e-12 and wrong > 1e-5


def test_2_the_loss_is_the_formula_for_any_sizes_and_takes_one_score_a_sample() -> None:
    real, fake = batches()
    labels = potentials(quadratic_cost(real[:5], fake))
    y, x = torch.randn(5, 1), torch.randn(6, 1)
    expected = (sum(y.flatten()) / 5 - sum(labels.real) / 5) ** 2 / 2
    expected += sum((x[i, 0] - labels.fake[i]) ** 2 for i in range(6)) / 6 / 2
    assert torch.allclose(critic_loss(y, x, labels), expected.float(), atol=1e-6)
    for scores in (torch.zeros(6, 6), torch.zeros(1)):
        with pytest.raises(ValueError, match="one for each of 6"):
            critic_loss(y, scores, labels)


def test_3_the_slope_is_a_norm_over_the_whole_sample() -> None:
    """The gradient's norm is taken over channels, pixel by pixel, not over the sample."""
    real, fake = batches()
    labels = potentials(quadratic_cost(real, fake))
    K, direction = 1 / 192, torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    fake.requires_grad_()
    loss = regularity_loss(fake, (fake * direction).sum((1, 2, 3)), real, labels.plan, gamma=0.4)
    step = barycentric_map(labels.plan, real) - fake.detach()
    whole = (direction.norm() - K * step.flatten(1).norm(dim=1)).square().mean()
    published = (direction[None].norm(dim=1) - K * step.norm(dim=1)).square().mean()
    assert torch.allclose(loss, 0.4 / (2 * K**0.5) * whole, rtol=1e-4)
    assert whole > 10 * published


def test_3_the_penalty_teaches_a_critic_even_a_flat_one() -> None:
    real, fake = batches()
    plan = potentials(quadratic_cost(real[:5], fake)).plan
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Softplus(), nn.Linear(32, 1))
    regularity_loss(fake.requires_grad_(), critic(fake), real[:5], plan).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in list(critic.parameters())[:-1])
    flat = torch.zeros(192, requires_grad=True)
    regularity_loss(fake, fake.flatten(1) @ flat, real[:5], plan).backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def test_4_the_optimal_potential_satisfies_the_penalty() -> None:
    """The slope that is asked for is K ‖x − y‖, that of the potential of the published cost is 4K ‖x − y‖."""
    real, fake = batches()
    fake.requires_grad_()

    def potential(x: Tensor, factor: float) -> Tensor:
        """g(x) = max_j h_j − factor ‖x − y_j‖²."""
        labels = potentials(factor * squares(real, fake.detach()))
        return (labels.real.to(x)[:, None] - factor * squares(real, x).to(x)).max(0).values

    plan = potentials(quadratic_cost(real, fake.detach(), K=1.0)).plan
    distance = (barycentric_map(plan, real) - fake).flatten(1).norm(dim=1).detach()
    for factor, slope in ((2.0, 4.0), (0.5, 1.0)):  # published: 2K ‖x − y‖², ours: K/2 ‖x − y‖²; K = 1
        (gradient,) = torch.autograd.grad(potential(fake, factor).sum(), fake)
        assert torch.allclose(gradient.flatten(1).norm(dim=1), slope * distance, rtol=1e-3)
    assert regularity_loss(fake, potential(fake, 0.5), real, plan, K=1.0) < 1e-6
    assert regularity_loss(fake, potential(fake, 2.0), real, plan, K=1.0) > 100  # published: they contradict


@pytest.mark.parametrize("norm", ["none", "spectral", "batch"])
def test_5_a_score_depends_on_its_own_sample_alone(norm: str) -> None:
    """Batch norm in the critic: a score depends on all samples, so a slope at one sample means nothing."""
    critics: list[nn.Module]
    if norm == "batch":
        with pytest.raises(ValueError, match="'none' or 'spectral'"):
            schema.Critic.model_validate({"name": "patch", "norm": norm})
        convolution, head = nn.Conv2d(3, 8, 4, 2, 1), nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4))
        critics = [nn.Sequential(convolution, nn.BatchNorm2d(8), head)]
    else:
        critics = [PatchCritic(nf=8, norm=norm), VGGCritic(8, nf=8, norm=norm)]
    for critic in critics:
        samples = batches()[0].requires_grad_()
        (gradient,) = torch.autograd.grad(critic.train()(samples)[0].sum(), samples)
        assert gradient[0].abs().max() > 0
        assert (gradient[1:].abs().max() > 0) == (norm == "batch")


def test_6_the_generator_climbs_wherever_it_stands() -> None:
    """The generator minimises (mean D(y) − mean D(x))²: fakes that score above the reals are pulled down."""
    for start in (-5.0, 5.0):  # reals score 0
        scores = torch.full((4,), start, requires_grad=True)
        (published,) = torch.autograd.grad((0 - scores.mean()).square(), scores)
        (ours,) = torch.autograd.grad(generator_loss(scores), scores)
        assert (published > 0).all() == (start > 0)
        assert (ours < 0).all()


def test_7_costs_are_where_the_constraints_look_for_them() -> None:
    """The cost matrix is filled transposed, and is square by assumption."""
    real, fake = batches()
    true = squares(real, fake) / (2 * 192)
    published = potentials(true.T.contiguous())  # entry [i, j] where the program reads [j, i]
    assert ((published.real[:, None] - published.fake) - true).max() > 1e-3  # infeasible: no potentials
    ours = potentials(quadratic_cost(real, fake))
    assert torch.allclose(quadratic_cost(real, fake[:4]), true[:, :4])  # nor need batches be equal in size
    assert ((ours.real[:, None] - ours.fake) - true).max() < 1e-12


def test_8_a_ramp_has_an_edge() -> None:
    """`sobel` is a Laplacian of R + G + B, repeated three times: a ramp has no edge."""
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    laplacian = torch.full((3, 3), -1.0)
    laplacian[1, 1] = 8
    published = F.conv2d(ramp, laplacian.expand(1, 3, 3, 3)).expand(1, 3, 14, 14)
    assert published.abs().max() < 1e-5
    across, down = sobel(ramp)[0, :, 1:-1, 1:-1]
    assert (across - 219 / 255 / 15).abs().max() < 1e-5 and down.abs().max() < 1e-6  # luma's slope a pixel
    assert edge_distance(torch.full_like(ramp, 0.5), ramp) > 0.01


def test_9_back_projection_stays_a_picture() -> None:
    """Back-projection throws its clamp away."""
    generator = torch.Generator().manual_seed(0)
    lr, sr = (torch.rand(2, 3, n, n, generator=generator).round() for n in (8, 32))  # black and white
    published = sr
    for _ in range(3):
        published = published + images.resize(lr - images.resize(published, 1 / 4), 4)
        published.clamp(0, 1)  # a new tensor, which nobody keeps
    ours = back_project(sr, lr, 3)
    assert published.max() > 1.2 and 0 <= ours.min() <= ours.max() <= 1
    assert torch.allclose(ours[1], back_project(sr[1:], lr[1:], 3)[0])


def test_9_tiles_work_on_the_cpu_on_tiny_pictures_and_one_after_another() -> None:
    """Tiling needs CUDA and 20 pixels; more than one picture fails."""
    upscaler = Upscaler(Compact(nf=8, nb=2, scale=4), device="cpu", tile=32, overlap=8)
    for width, height in ((1, 1), (7, 19), (40, 50)):
        assert upscaler.upscale(Image.new("RGB", (width, height), "grey")).size == (4 * width, 4 * height)


def test_10_kernels_sample_on_the_grid_of_bicubic() -> None:
    """Kernel down-sampling takes every 4th pixel from the first."""
    ramp = torch.arange(64, dtype=torch.float64).expand(3, 64, 64)
    kernel = kernels.gaussian(17, 2, 2, dtype=torch.float64)
    published = F.conv2d(ramp[:, None], kernel[None, None], padding=8)[:, 0, ::4, ::4]
    bicubic = images.resize(ramp, 1 / 4)
    ours = kernels.downsample(ramp, kernels.centre(kernel, 4), 4)
    inside = (slice(None), slice(4, -4), slice(4, -4))
    assert ((bicubic - published)[inside] - 1.5).abs().max() < 1e-6
    assert (bicubic - ours)[inside].abs().max() < 1e-6


def test_10_grey_levels_are_rounded_and_values_outside_clipped() -> None:
    """Kernel down-sampling truncates, and lets negative values wrap around."""
    values = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    published = (255 * values).numpy().astype(np.uint8)
    assert abs((published - 255 * values.numpy()).mean() + 0.5) < 0.01
    assert abs((images.to_array(values).transpose(2, 0, 1) - 255 * values.numpy()).mean()) < 0.01
    edge = torch.zeros(3, 32, 32)
    edge[..., 16:] = 1  # taps below 0 make undershoots beside it
    taps = kernels.bicubic(4)
    undershoot = 255 * kernels.downsample(edge, taps, 4)
    assert undershoot.min() < -3
    assert undershoot.numpy().astype(np.int64).astype(np.uint8)[..., :4].max() > 200  # black became white
    lr = Degradation(4, taps).apply(edge, seed=0)
    assert lr[..., :4].max() < 0.5 and images.to_array(lr)[:, :4].max() < 128


def test_11_every_window_and_every_patch_is_looked_at() -> None:
    """The search for noise looks at 9 of the 16 windows of a patch, and at no patch in the last row and column."""
    published = [(y, x) for y in range(0, 64 - 16, 16) for x in range(0, 64 - 16, 16)]
    assert len(published) == 9
    grain = np.random.default_rng(0).normal(128, 3, (64, 64, 1)).round().clip(0, 255).astype(np.uint8)
    smooth = np.repeat(grain, 3, 2)
    assert len(collect_noise(smooth, patch=64, window=16)) == 1
    for y, x in {(y, x) for y in range(0, 64, 16) for x in range(0, 64, 16)} - set(published):
        blemished = smooth.copy()
        blemished[y + 4 : y + 12, x + 4 : x + 12] += 8
        with pytest.raises(DegradationError, match="a window's variance differs"):
            collect_noise(blemished, patch=64, window=16)

    busy = np.random.default_rng(1).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    busy[64:, 64:] = smooth  # the last patch: range(0, 128 − 64, 64) ends before it
    found = collect_noise(busy, patch=64, window=16, stride=64, max_coherence=1, max_correlation=1)
    assert np.array_equal(found.patches[0].permute(1, 2, 0).numpy(), smooth)


@pytest.mark.parametrize(("nf", "side"), [(8, 32), (12, 48), (64, 40)])
def test_12_critics_take_any_width_and_size(nf: int, side: int) -> None:
    """The critic takes 64 channels at 128×128 only."""
    published = nn.Linear(512 * 4 * 4, 100)  # after five halvings of 128×128 at nf = 64
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        published(torch.zeros(2, 8 * nf * (side // 32) ** 2))
    samples = torch.zeros(2, 3, side, side)
    assert VGGCritic(side, nf=nf)(samples).shape == (2, 1)
    assert PatchCritic(nf=nf)(samples).shape[:2] == (2, 1)


def test_12_the_critic_may_step_twice() -> None:
    """D_update_ratio = 2 crashes."""
    gan = ["losses.gan={weight: 1, kind: wgan-qc, ratio: 2}", "critic={name: patch, nf: 8}"]
    settings = [*gan, "data.crop=32", "losses.transport.weight=0"]
    judge = Adversary(load_config(ROOT / "configs" / "tiny.yml", settings), Accelerator(cpu=True))
    real, sr = (torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    steps: list[int] = []
    judge.optimiser.register_step_post_hook(lambda *_: steps.append(1))
    term = judge.step(sr.requires_grad_(), real, 0)
    judge.optimiser.step()  # the last of the critic's steps is the caller's
    (gradient,) = torch.autograd.grad(term, sr)
    assert len(steps) == 2 and gradient.abs().max() > 0


def test_12_one_store_opens_twice(tmp_path: Path) -> None:
    """LMDB opens once."""
    Image.fromarray(np.full((20, 30, 3), 7, np.uint8)).save(tmp_path / "photo.png")
    pack([tmp_path / "photo.png"], tmp_path / "hr.lmdb", progress=False)
    first, second = Store(tmp_path / "hr.lmdb"), Store(tmp_path / "hr.lmdb")
    assert np.array_equal(first.crop(0, 0, 0, 4, 4), second.crop(0, 16, 26, 4, 4))


def test_12_a_misspelt_key_is_named_not_ignored() -> None:
    """`benckmark` is read as no `benchmark`."""
    assert {"benckmark": True}.get("benchmark", False) is False
    with pytest.raises(ConfigError, match="valdiate"):
        load_config(ROOT / "configs" / "tiny.yml", ["every.valdiate=1"])


def test_13_every_room_imports_with_todays_libraries() -> None:
    """Imports fail on current numpy, scipy, PyYAML, and on torch without CUDA; ours calls nothing that is gone."""
    assert not hasattr(np, "int")
    names = {module.name for module in pkgutil.walk_packages(otsr.__path__, "otsr.")}
    assert len(names) > 50 and "otsr.degradation.kernelgan" in names
    for name in names - {"otsr.__main__", "otsr.cli.layout"}:  # the last belongs to the extra [app]
        importlib.import_module(name)


def test_13_kernelgan_trains_without_cuda() -> None:
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError, AttributeError)):
            torch.cuda.set_device(0)  # the published first line
    photo = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(kernelgan.train_kernel(photo, iterations=1)).all()
