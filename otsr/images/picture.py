"""What a picture is here: a `Picture` as it was decoded, or a tensor; and the way from one to the other."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class ImageError(ValueError):
    """A picture that cannot be read or written; the message names it and says what to do."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture, as it must be to write it back.

    Attributes:
        pixels: (H, W, 3) uint8, or uint16 where more were asked for and are there; sRGB unless `icc` says otherwise.
        alpha: (H, W) of the same type, or None when the picture is opaque.
        icc: embedded colour profile, of grey where `grey`, else of RGB; or None.
        grey: the file held one channel of luminance.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    grey: bool = False

    @property
    def white(self) -> int:
        """The value of white: 255, or 65535 of 16 bits."""
        return int(np.iinfo(self.pixels.dtype).max)

    def on_white(self) -> Tensor:
        """(3, H, W) in [0, 1], transparency composited on white."""
        image = torch.from_numpy(self.pixels).permute(2, 0, 1).float().div(self.white)
        if self.alpha is not None:
            alpha = torch.from_numpy(self.alpha).float().div(self.white)
            image = image * alpha + (1 - alpha)
        return image.contiguous()


def to_hwc(tensor: Tensor) -> np.ndarray:
    """(H, W, 1 or 3) of a tensor (3, H, W) or (1, H, W), possibly in a batch of one."""
    if tensor.dim() == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.dim() != 3 or tensor.shape[0] not in (1, 3):
        raise ImageError(f"tensor: shape {tuple(tensor.shape)}, expected (3, H, W) or (1, H, W)")
    return tensor.detach().permute(1, 2, 0).cpu().numpy()


def to_array(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of a tensor (3, H, W) in [0, 1]: clipped and rounded, not truncated."""
    return to_hwc(image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8))


def to_pil(image: Tensor) -> Image.Image:
    """PIL image of a tensor (3, H, W) in [0, 1]."""
    array = to_array(image)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def as_batch(image: Tensor, name: str) -> Tensor:
    """(B, 3, H, W) of at least float32 from a picture or a batch of pictures in [0, 1]; else a ValueError."""
    if not isinstance(image, Tensor) or not image.is_floating_point():
        found = image.dtype if isinstance(image, Tensor) else type(image).__name__
        advice = "otsr.images.read makes one of a file, array or PIL image"
        raise ValueError(f"{name} is {found}, expected a floating-point tensor in [0, 1]; {advice}")
    if image.dim() not in (3, 4) or image.shape[-3] != 3 or image.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(image.shape)}, expected (3, H, W) or (B, 3, H, W)")
    low, high = (bound.item() for bound in torch.aminmax(image.detach()))
    if not (low >= 0 and high <= 1):
        if low != low:
            raise ValueError(f"{name} holds NaN; find the step that made it")
        advice = "divide by 255" if low >= 0 and 2 < high <= 255 else "clamp it with .clamp(0, 1)"
        raise ValueError(f"{name} holds values from {low:.4g} to {high:.4g}, expected [0, 1]; {advice}")
    batch = image if image.dim() == 4 else image[None]
    return batch if batch.dtype == torch.float64 else batch.float()


def luma(image: Tensor) -> Tensor:
    """Luminance of BT.601, as MATLAB's rgb2ycbcr: Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255.

    (…, 3, H, W) becomes (…, 1, H, W), with values in [16/255, 235/255]: the channel of "PSNR-Y" in papers.
    """
    if image.dim() < 3 or image.shape[-3] != 3:
        raise ValueError(f"luma needs (…, 3, H, W), got {tuple(image.shape)}")
    red, green, blue = image.split(1, dim=-3)
    return (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255


def crop_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Cut right and bottom so that height and width are multiples of `multiple`."""
    height, width = image.shape[-2:]
    if height < multiple or width < multiple:
        raise ValueError(f"an image of {width}×{height} holds no multiple of {multiple}")
    return image[..., : height // multiple * multiple, : width // multiple * multiple]
