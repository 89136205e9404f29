"""resize is MATLAB's imresize: checked against its formula written out sample by sample."""

import math

import numpy as np
import pytest
import torch

from otsr.images import resize


def keys(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def imresize_line(line: np.ndarray, scale: float) -> np.ndarray:
    """MATLAB's algorithm in its own words and one-based indices, one output at a time."""
    length, out = len(line), math.ceil(scale * len(line) - 1e-9)
    width = 4 / scale if scale < 1 else 4.0
    result = np.zeros(out)
    for x in range(1, out + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        total = 0.0
        for index in range(left, left + math.ceil(width) + 2):
            weight = scale * keys(scale * (u - index)) if scale < 1 else keys(u - index)
            mirrored = (index - 1) % (2 * length)
            result[x - 1] += weight * line[mirrored if mirrored < length else 2 * length - 1 - mirrored]
            total += weight
        result[x - 1] /= total
    return result


@pytest.mark.parametrize(
    ("scale", "size"),
    [(1 / 4, (24, 36)), (1 / 3, (23, 37)), (1 / 2, (5, 3)), (0.37, (1, 1)), (0.75, (23, 37)), (1, (24, 36)),
     (1.3, (5, 3)), (2, (23, 37)), (4, (24, 36)), (7.5, (1, 1)), (0.6, (3, 700))],
)  # fmt: skip
def test_resize_agrees_with_the_formula_everywhere(scale: float, size: tuple[int, int]) -> None:
    image = torch.rand(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = np.apply_along_axis(imresize_line, 0, image.numpy(), scale)
    expected = np.apply_along_axis(imresize_line, 1, columns, scale)
    assert np.abs(resize(image[None], scale)[0].numpy() - expected).max() < 1e-12
    assert np.abs(resize(image[None].float(), scale)[0].numpy() - expected).max() < 1e-6


def test_a_batch_is_resized_like_its_members_and_carries_gradients() -> None:
    batch = torch.rand(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(resize(batch, 0.5)[1], resize(batch[1], 0.5))
    assert torch.autograd.gradcheck(lambda x: resize(x, 0.5), batch)


def test_sizes_are_those_of_matlab() -> None:
    image = torch.zeros(1, 300, 301)
    assert resize(image, 0.07).shape == (1, 21, 22) and resize(image, 0.25).shape == (1, 75, 76)
    assert resize(image, 0.25, size=(75, 75)).shape == (1, 75, 75)


def test_senseless_arguments_are_refused() -> None:
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive"):
            resize(torch.zeros(1, 4, 4), scale)
    for image in (torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 4)):
        with pytest.raises(ValueError, match="floating"):
            resize(image, 2)
