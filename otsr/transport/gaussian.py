"""Transport between Gaussians in closed form: the Bures–Wasserstein distance and the linear map that attains it.

For N(m₁, A) and N(m₂, B):
    W2² = ‖m₁ − m₂‖² + tr(A + B − 2 (A^½ B A^½)^½),      T(x) = m₂ + A^{−½} (A^½ B A^½)^½ A^{−½} (x − m₁).

>>> one, two = torch.eye(1), torch.zeros(1)
>>> narrow, wide = (two, one), (two + 3, 4 * one)  # N(0, 1) and N(3, 4)
>>> round(float(bures_wasserstein(narrow, wide)), 2)  # 3² + (2 − 1)²
10.0
>>> gaussian_map(narrow, wide)(torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]])).flatten().round().tolist()
[-1.0, 1.0, 3.0, 5.0, 7.0]

Reference: Peyré & Cuturi, Computational Optimal Transport, 2019, arXiv 1803.00567, remark 2.31.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

Moments = tuple[Tensor, Tensor]  # mean (d,) and covariance (d, d)
_RANK = 1e-6  # eigenvalues of a square root below this share of the largest count as zero


@dataclass(frozen=True)
class GaussianMap:
    """The optimal (possibly noisy) linear map between two Gaussians.

    Attributes:
        matrix: (d, d), symmetric where the source is not degenerate.
        source_mean, target_mean: (d,).
        noise: (d, d), covariance of the noise that the map must add. Zero unless the source lacks directions that the
            target has: no function of x can then reach the target, a random one can.
    """

    matrix: Tensor
    source_mean: Tensor
    target_mean: Tensor
    noise: Tensor

    def __call__(self, samples: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Carry (…, d) samples of the source; `generator` draws the noise where there is any."""
        moved = self.target_mean + (samples - self.source_mean) @ self.matrix.T
        if not self.noise.any():
            return moved
        draw = torch.randn(samples.shape, generator=generator, dtype=samples.dtype).to(moved)
        return moved + draw @ square_root(self.noise)


def moments(samples: Tensor) -> Moments:
    """Mean (d,) and covariance (d, d), divided by n, of (n, d) samples, in float64."""
    if samples.dim() != 2 or len(samples) < 2:
        raise ValueError(f"samples have shape {tuple(samples.shape)}, expected (n, d) with n of at least 2")
    mean = samples.double().mean(0)
    centred = samples.double() - mean
    return mean, centred.T @ centred / len(samples)


def square_root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite (d, d) matrix."""
    values, vectors = _eigen(covariance)
    return (vectors * values.sqrt()) @ vectors.T


def bures_wasserstein(first: Moments, second: Moments) -> Tensor:
    """W2² (squared) between N(mean, covariance) and another; singular covariances are welcome."""
    (m1, A), (m2, B) = (_checked(*moment) for moment in (first, second))
    root = square_root(A)
    cross = _eigen(root @ B @ root)[0].sqrt().sum()
    return (m1 - m2).square().sum() + (A.trace() + B.trace() - 2 * cross).clamp_min(0)


def gaussian_map(source: Moments, target: Moments) -> GaussianMap:
    """The optimal map from N(mean, covariance) to another.

    Where the source is degenerate, A^{−½} is its pseudo-inverse, and what the target has outside of the reach
    of x, B − T A Tᵀ, is added as independent noise: the optimal stochastic estimator (Freirich et al., NeurIPS
    2021, arXiv 2107.02555).

    Raises:
        ValueError: shapes that do not fit, or a covariance that is not symmetric positive semi-definite.
    """
    (m1, A), (m2, B) = (_checked(*moment) for moment in (source, target))
    if m1.shape != m2.shape:
        raise ValueError(f"source lives in {len(m1)} dimensions, target in {len(m2)}")
    root = square_root(A)
    # Equal to A^{−½} (A^½ B A^½)^½ A^{−½} where A is regular; where not, only this form is optimal towards all of B.
    matrix = B @ root @ _pseudo_inverse(square_root(root @ B @ root)) @ _pseudo_inverse(root)
    values, vectors = torch.linalg.eigh(B - matrix @ A @ matrix.T)
    values = values * (values > 1e-6 * B.diagonal().max())  # rounding is no noise
    noise = (vectors * values) @ vectors.T
    return GaussianMap(matrix, m1, m2, noise)


def _pseudo_inverse(matrix: Tensor) -> Tensor:
    values, vectors = _eigen(matrix)
    inverse = (values > _RANK * values.max()) / values.clamp_min(1e-300)
    return (vectors * inverse) @ vectors.T


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, clipped at 0, and eigenvectors; refuses values that are negative beyond rounding."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    if values.min() < -1e-8 * max(float(values.abs().max()), 1e-30):
        raise ValueError(f"not positive semi-definite: eigenvalues {values.min():.3g} to {values.max():.3g}")
    return values.clamp_min(0), vectors


def _checked(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    if mean.dim() != 1 or covariance.shape != (len(mean), len(mean)):
        shapes = f"mean {tuple(mean.shape)} and covariance {tuple(covariance.shape)}"
        raise ValueError(f"{shapes}, expected (d,) and (d, d)")
    mean, covariance = mean.double(), covariance.double()
    if not torch.allclose(covariance, covariance.T, atol=1e-8 * float(covariance.abs().max())):
        raise ValueError("the covariance is not symmetric")
    return mean, covariance
