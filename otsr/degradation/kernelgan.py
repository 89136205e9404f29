"""KernelGAN: the blur kernel as a linear generator trained on one image until its patches look alike at two scales.

A deep linear network G shrinks the LR image by 2; a patch critic D compares patches of G's output with patches
of the LR image itself. Patches recur across scales in a natural image, so the kernel that keeps their
distribution is taken for the camera's. G is linear: its six layers equal ONE 13×13 kernel. The collapsed form
composes the weights first and convolves the image once; same function, same gradients up to rounding.

Known to be biased: keeping the statistics of an image that is blurred already takes only ¾ of its blur's variance
again, and the sparse prior piles that on too few taps. `otsr.degradation.spectrum` is the default for these reasons;
`benchmarks/results/kernel_estimation.md` compares the two.

Reference: Bell-Kligler, Shocher, Irani, "Blind super-resolution kernel estimation using an internal-GAN",
NeurIPS 2019, arXiv 1909.06581. Written from the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from tqdm import tqdm  # not tqdm.auto: in a notebook its bar would be stored, and differ from run to run

from otsr.degradation.kernels import centre, compose
from otsr.images import luma
from otsr.resampling import resize

KERNEL_SIZE = 13  # 7 + 5 + 3 − 2: what six stacked layers (7, 5, 3, 1, 1, 1) see
CROP = 64  # side of the patches that G shrinks, in LR pixels
_OUTPUT = (CROP - KERNEL_SIZE) // 2 + 1  # side of G's output, and of the real patches that D sees
_LAYERS = (7, 5, 3, 1, 1, 1)
_NEGLIGIBLE = 1 / 40  # of the largest tap
_WARM_UP_ERROR = 1e-3  # mean squared error to bicubic shrinking (images in [−1, 1]) that ends the warm-up
_WARM_UP_WEIGHT = 5.0
_SUM_WEIGHT, _BOUNDARY_WEIGHT, _SPARSE_WEIGHT, _CENTRE_WEIGHT = 0.5, 0.5, 5.0, 1.0  # α, β, γ, δ of the paper


class LinearGenerator(nn.Module):
    """Six convolutions without bias or activation, stride 2 at the end: one 13×13 kernel in deep clothing.

    Args:
        channels: width of the hidden layers.
        collapsed: True convolves the image once with `kernel()`; False runs the six layers on it.
    """

    def __init__(self, channels: int = 64, collapsed: bool = True) -> None:
        super().__init__()
        widths = [1] + [channels] * (len(_LAYERS) - 1) + [1]
        self.weights = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(after, before, size, size))
            for before, after, size in zip(widths, widths[1:], _LAYERS, strict=False)
        )
        self.collapsed = collapsed

    def kernel(self) -> Tensor:
        """The (13, 13) cross-correlation kernel that the six layers amount to, with gradients.

        Composed from the output side, so that every intermediate result has one row of channels.
        """
        composed = self.weights[-1]
        for weight in list(self.weights)[-2::-1]:
            reach = composed.shape[-1] - 1
            composed = F.conv2d(weight.transpose(0, 1), composed.flip(-2, -1), padding=reach).transpose(0, 1)
        return composed[0, 0]

    def forward(self, image: Tensor) -> Tensor:
        """Shrink by 2, each colour by itself, no padding: (3, H, W) → (3, (H − 11) // 2, (W − 11) // 2)."""
        x = image[:, None]
        if self.collapsed:
            return F.conv2d(x, self.kernel()[None, None], stride=2)[:, 0]
        for weight in list(self.weights)[:-1]:
            x = F.conv2d(x, weight)
        return F.conv2d(x, self.weights[-1], stride=2)[:, 0]


def patch_critic(channels: int = 64) -> nn.Sequential:
    """D: says of each 7×7 patch of a (1, 3, H, W) image how real it looks, in (0, 1).

    One 7×7 convolution, then 1×1 layers: it can judge nothing larger than a patch. Spectral norm throughout.
    """
    layers: list[nn.Module] = [spectral_norm(nn.Conv2d(3, channels, 7))]
    for _ in range(5):
        layers += [spectral_norm(nn.Conv2d(channels, channels, 1)), nn.BatchNorm2d(channels), nn.ReLU(True)]
    layers += [spectral_norm(nn.Conv2d(channels, 1, 1)), nn.Sigmoid()]
    return nn.Sequential(*layers)


def train_kernel(
    image: Tensor,
    iterations: int = 3000,
    seed: int = 0,
    collapsed: bool = True,
    progress: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Play G against D on one image and return G's kernel as it stands at the end, neither pruned nor centred.

    Both losses are L1: G minimises mean|D(G(x)) − 1| + regularisers, D minimises
    ½ mean|D(y) − 1| + ½ mean|D(G(x))|. Adam, 2e-4, (0.5, 0.999), divided by 10 every 750 iterations.

    Args:
        image: (3, H, W) in [0, 1], both sides at least 64.
        iterations: steps of G and of D, 3000 in the paper.
        seed: of the initial weights and of the crops; torch's global generator is left alone.
        collapsed: see LinearGenerator.
        progress: show a bar.
        dtype: of all computation.

    Returns:
        (13, 13) convolution kernel.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, critic = LinearGenerator(collapsed=collapsed).to(dtype), patch_critic().to(dtype)
        inputs, reals = _crops(image, CROP, iterations), _crops(image, _OUTPUT, iterations)
        image = (2 * image - 1).to(dtype)
        optimisers = [torch.optim.Adam(m.parameters(), 2e-4, betas=(0.5, 0.999)) for m in (generator, critic)]
        schedules = [torch.optim.lr_scheduler.StepLR(optimiser, 750) for optimiser in optimisers]
        warm = True
        for (top, left), (top_real, left_real) in tqdm(
            zip(inputs, reals, strict=True), total=iterations, desc="KernelGAN", disable=not progress
        ):
            crop = image[:, top : top + CROP, left : left + CROP]
            real = image[:, top_real : top_real + _OUTPUT, left_real : left_real + _OUTPUT]
            fake = generator(crop)
            summed, shaped = _regularisers(generator.kernel())
            if warm:
                error = F.mse_loss(fake, _bicubic_half(crop))
                warm = error.item() > _WARM_UP_ERROR
                shaped = _WARM_UP_WEIGHT * error
            _step(optimisers[0], (1 - critic(fake[None])).abs().mean() + summed + shaped)
            scores_real, scores_fake = critic(real[None]), critic(fake.detach()[None])
            _step(optimisers[1], ((1 - scores_real).abs().mean() + scores_fake.abs().mean()) / 2)
            for schedule in schedules:
                schedule.step()
        return generator.kernel().detach().flip(-2, -1)


def finish_kernel(raw: Tensor, scale: int) -> Tensor:
    """Make a trained (13, 13) kernel a camera's: prune, centre, compose.

    Taps below 1/40 of the largest, negative ones among them, are set to zero; the rest is scaled to sum 1, moved to its
    centre of mass on the grid of `scale`, and for ×4 convolved with its own 2-dilation.
    """
    kept = torch.where(raw >= _NEGLIGIBLE * raw.max(), raw, torch.zeros_like(raw))
    kernel = centre(kept / kept.sum(), 2).clamp(min=0)
    kernel = compose(kernel) if scale == 4 else kernel
    return kernel / kernel.sum()


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _bicubic_half(crop: Tensor) -> Tensor:
    """Bicubic shrinking by 2 of what G sees, cut to the size of G's output."""
    margin = KERNEL_SIZE // 4
    return resize(crop, 0.5)[:, margin : margin + _OUTPUT, margin : margin + _OUTPUT]


def _regularisers(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """|1 − Σk|, and the three that wait for the warm-up: boundaries, sparsity, centre (means over the taps)."""
    line = torch.arange(KERNEL_SIZE, dtype=kernel.dtype) - KERNEL_SIZE // 2
    distance = (line[:, None] ** 2 + line[None, :] ** 2).sqrt()
    mask = (distance / 2).exp() - 1
    total = kernel.sum()
    mean = torch.stack([(kernel.sum(0) * line).sum(), (kernel.sum(1) * line).sum()]) / total
    shape = _BOUNDARY_WEIGHT * (kernel * mask).abs().mean()
    shape = (
        shape + _SPARSE_WEIGHT * (kernel.abs() + 1e-8).sqrt().mean() + _CENTRE_WEIGHT * mean.square().mean()
    )
    return _SUM_WEIGHT * (1 - total).abs(), shape


def _crops(image: Tensor, size: int, count: int) -> list[list[int]]:
    """(top, left) of `count` crops, drawn in proportion to the gradient magnitude that they hold."""
    grey = luma(image)
    across, down = grey[..., :-1, 1:] - grey[..., :-1, :-1], grey[..., 1:, :-1] - grey[..., :-1, :-1]
    magnitude = (across**2 + down**2).sqrt()
    side = size - 1  # a crop of n pixels holds n − 1 differences
    density = F.avg_pool2d(F.avg_pool2d(magnitude, (side, 1), stride=1), (1, side), stride=1)[0]
    places = torch.multinomial(density.flatten().double() + 1e-12, count, replacement=True)
    return torch.stack([places // density.shape[-1], places % density.shape[-1]], -1).tolist()
