"""KernelGAN: the blur kernel as a linear generator, trained on one image until its patches look alike at two scales.

A deep linear network G shrinks the LR image by 2; a patch critic D compares patches of G's output with patches of the
image itself. Patches recur across scales in a natural image, so the kernel that keeps their distribution is taken for
the camera's. G is linear: its six layers equal ONE 13×13 kernel. The collapsed form composes the weights first and
convolves the image once; same function, same gradients up to rounding.

The paper's game is chaotic: a rounding error at the start becomes another kernel. For two machines to find nearly the
same, ours differs in five ways: G starts as a small blur, not by imitating bicubic until one crop is good enough; G is
twenty times slower than D, so it follows a critic that has settled; the sum is pulled to 1 by a square, not by a
constant force that overshoots; no sparse prior piles the kernel on a few taps, others each time; and the answer is the
mean of G's kernels over the second half of the game.

It is biased: keeping the statistics of an image that is blurred already takes only ¾ of its blur's variance again.
For this, and for its time, `estimation` does not use it by default; `benchmarks/results/kernel_estimation.md` compares.
Reference: Bell-Kligler, Shocher, Irani, NeurIPS 2019, arXiv 1909.06581. Written from the paper.

>>> generator = LinearGenerator(channels=4)
>>> generator(torch.rand(3, 20, 31)).shape, generator.kernel().shape
(torch.Size([3, 4, 10]), torch.Size([13, 13]))
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from otsr.degradation.kernels import centre, compose, gaussian
from otsr.images import luma

_LAYERS = (7, 5, 3, 1, 1, 1)
KERNEL_SIZE = 13  # 7 + 5 + 3 − 2: what these see, stacked
CROP = 64  # side of the patches that G shrinks, in LR pixels
_OUTPUT = (CROP - KERNEL_SIZE) // 2 + 1  # side of G's output, and of the real patches that D sees
_NEGLIGIBLE = 1 / 40  # of the largest tap
_START = 1.0  # variance of the Gaussian that G starts from, HR pixels²; bicubic's is about that
_BOUNDARY_WEIGHT = 0.5  # β of the paper; its δ and the weight of the sum are 1


class LinearGenerator(nn.Module):
    """Six convolutions without bias or activation, stride 2 at the end; `collapsed` into one with `kernel()`."""

    def __init__(self, channels: int = 64, collapsed: bool = True) -> None:
        super().__init__()
        widths = [1] + [channels] * (len(_LAYERS) - 1) + [1]
        self.weights = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(after, before, size, size))
            for before, after, size in zip(widths, widths[1:], _LAYERS, strict=False)
        )
        self.collapsed = collapsed

    def kernel(self) -> Tensor:
        """The (13, 13) cross-correlation kernel that the six layers amount to, with gradients."""
        composed = self.weights[-1]  # from the output side: every intermediate result has one row of channels
        for weight in list(self.weights)[-2::-1]:
            reach = composed.shape[-1] - 1
            composed = F.conv2d(weight.transpose(0, 1), composed.flip(-2, -1), padding=reach).transpose(0, 1)
        return composed[0, 0]

    def forward(self, image: Tensor) -> Tensor:
        """Shrink by 2, each colour by itself, no padding: (3, H, W) → (3, (H − 11) // 2, (W − 11) // 2)."""
        weights = [self.kernel()[None, None]] if self.collapsed else list(self.weights)
        x = image[:, None]
        for weight in weights[:-1]:
            x = F.conv2d(x, weight)
        return F.conv2d(x, weights[-1], stride=2)[:, 0]


def patch_critic() -> nn.Sequential:
    """D: says of each 7×7 patch of a (1, 3, H, W) image how real it looks, in (0, 1).

    One 7×7 convolution, then 1×1 layers: it can judge nothing larger than a patch. Spectral norm throughout.
    """
    layers: list[nn.Module] = [spectral_norm(nn.Conv2d(3, 64, 7))]
    for _ in range(5):
        layers += [spectral_norm(nn.Conv2d(64, 64, 1)), nn.BatchNorm2d(64), nn.ReLU(True)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(64, 1, 1)), nn.Sigmoid())


def train_kernel(image: Tensor, iterations: int = 800, seed: int = 0, collapsed: bool = True) -> Tensor:
    """Play G against D on one image and return the mean of G's later kernels (13, 13), neither pruned nor centred.

    Both losses are L1: G minimises mean|D(G(x)) − 1| + wishes, D minimises ½ mean|D(y) − 1| + ½ mean|D(G(x))|.

    Args:
        image: (3, H, W) in [0, 1], both sides at least 64; computed in its dtype.
        iterations: steps of G and of D, 3000 in the paper; here the kernel grows too wide in the long run.
        seed: of the initial weights and of the crops; torch's global generator is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, critic = LinearGenerator(collapsed=collapsed).to(image), patch_critic().to(image)
        inputs, reals = _crops(image, CROP, iterations), _crops(image, _OUTPUT, iterations)
        image = 2 * image - 1
        _start(generator)
        of_generator = torch.optim.Adam(generator.parameters(), 5e-5, betas=(0.5, 0.999))
        of_critic = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.999))
        later: list[Tensor] = []
        for step, ((top, left), (top_real, left_real)) in enumerate(zip(inputs, reals, strict=True)):
            fake = generator(image[:, top : top + CROP, left : left + CROP])
            real = image[:, top_real : top_real + _OUTPUT, left_real : left_real + _OUTPUT]
            _step(of_generator, (1 - critic(fake[None])).abs().mean() + _wishes(generator.kernel()))
            scores_real, scores_fake = critic(real[None]), critic(fake.detach()[None])
            _step(of_critic, ((1 - scores_real).abs().mean() + scores_fake.abs().mean()) / 2)
            if step >= iterations // 2:
                later.append(generator.kernel().detach())
        return torch.stack(later).mean(0).flip(-2, -1)


def finish_kernel(raw: Tensor, scale: int) -> Tensor:
    """Make a trained (13, 13) kernel a camera's: without taps below 1/40 of the largest, centred, for ×4 composed."""
    kept = torch.where(raw >= _NEGLIGIBLE * raw.max(), raw, torch.zeros_like(raw))
    kernel = centre(kept / kept.sum(), 2).clamp(min=0)
    kernel = compose(kernel) if scale == 4 else kernel
    return kernel / kernel.sum()


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _start(generator: LinearGenerator) -> None:
    """Fit G's random layers to a small Gaussian: no picture is needed for that, and every seed starts alike."""
    optimiser = torch.optim.Adam(generator.parameters())
    target = gaussian(KERNEL_SIZE, _START).to(generator.weights[0])
    for step in range(100):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / 100)
        _step(optimiser, (generator.kernel() - target).square().sum())


def _wishes(kernel: Tensor) -> Tensor:
    """(1 − Σk)², and small for a kernel that is centred and ends before its borders (means over taps)."""
    line = torch.arange(KERNEL_SIZE, dtype=kernel.dtype) - KERNEL_SIZE // 2
    mask = (torch.hypot(line[:, None], line) / 2).exp() - 1
    total = kernel.sum()
    mean = torch.stack([(kernel.sum(axis) * line).sum() for axis in (0, 1)]) / total
    return (1 - total).square() + _BOUNDARY_WEIGHT * (kernel * mask).abs().mean() + mean.square().mean()


def _crops(image: Tensor, size: int, count: int) -> list[list[int]]:
    """(top, left) of `count` crops, drawn in proportion to the gradient magnitude that they hold."""
    grey = luma(image)
    across, down = grey.diff(dim=-1)[..., :-1, :], grey.diff(dim=-2)[..., :-1]
    magnitude = (across**2 + down**2).sqrt()
    side = size - 1  # a crop of n pixels holds n − 1 differences
    density = F.avg_pool2d(F.avg_pool2d(magnitude, (side, 1), stride=1), (1, side), stride=1)[0]
    places = torch.multinomial(density.flatten().double() + 1e-12, count, replacement=True)
    return torch.stack([places // density.shape[-1], places % density.shape[-1]], -1).tolist()
