"""Pictures in and out: read anything, write atomically, tensors, luma, crops; and `resize` from next door.

Everywhere in the package an image is a float32 tensor of sRGB values in [0, 1], (3, H, W) or (B, 3, H, W).
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from otsr.resampling import resize as resize  # part of this room; the mathematics is next door

MAX_PIXELS = 100_000_000
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm"})
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})

ImageSource: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | Tensor"


class ImageError(ValueError):
    """A picture that cannot be read or written; the message names it and says what to do."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture, as it must be to write it back: nothing but pixels, transparency and colour profile.

    Attributes:
        pixels: (H, W, 3) uint8, sRGB unless `icc` says otherwise. 16-bit colour is read at 8 bits.
        alpha: (H, W) uint8, or None when the picture is opaque.
        icc: embedded RGB colour profile, or None.
        grey: the file held one channel of luminance.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    grey: bool = False


def open_picture(source: ImageSource) -> Picture:
    """Decode a picture of any common kind.

    Grey, palette, CMYK, 16-bit, RGBA and EXIF-rotated pictures become upright 8-bit RGB with separate alpha.
    Of an animation the first frame is taken, with a warning. EXIF, GPS and other metadata are dropped.

    Args:
        source: a path, a PIL image, an array (H, W) or (H, W, 1|3|4) (uint8, uint16, or float in [0, 1]),
            or a float tensor (3, H, W) or (1, H, W) in [0, 1].

    Raises:
        ImageError: the file is missing, empty, truncated, no image, or larger than MAX_PIXELS.
    """
    if isinstance(source, Tensor):
        return _from_array(_tensor_to_hwc(source), "tensor")
    if isinstance(source, np.ndarray):
        return _from_array(source, "array")
    if isinstance(source, Image.Image):
        return _from_pil(source, "image")
    path = Path(source)
    if not path.exists():
        raise ImageError(f"{path}: no such file")
    if not path.is_file():
        raise ImageError(f"{path}: not a file; name a picture, or its folder where a command takes folders")
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                return _from_pil(image, str(path))
        except ImageError:
            raise
        except UnidentifiedImageError:
            head = path.open("rb").read(12)
            raise ImageError(
                f"{path}: not a picture that can be read (it begins with {head!r}); "
                "expected PNG, JPEG, WebP, TIFF, BMP or GIF"
            ) from None
        except Image.DecompressionBombError as error:
            raise ImageError(f"{path}: larger than the limit of {MAX_PIXELS:,} pixels ({error})") from None
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
            raise ImageError(f"{path}: damaged or truncated ({error}); fetch or export it again") from None


def read(source: ImageSource) -> Tensor:
    """A picture as a tensor (3, H, W) in [0, 1], transparency composited on white; see `open_picture`."""
    picture = open_picture(source)
    image = torch.from_numpy(picture.pixels).permute(2, 0, 1).float().div(255)
    if picture.alpha is None:
        return image.contiguous()
    alpha = torch.from_numpy(picture.alpha).float().div(255)
    return (image * alpha + (1 - alpha)).contiguous()


def _from_pil(image: Image.Image, name: str) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width}×{height} is {width * height / 1e6:.0f} megapixels, above the limit of "
            f"{MAX_PIXELS / 1e6:.0f}; cut it into parts first"
        )
    if getattr(image, "n_frames", 1) > 1:
        warnings.warn(f"{name}: {image.n_frames} frames; only the first is used", stacklevel=3)  # type: ignore[attr-defined]
        image.seek(0)
    icc = image.info.get("icc_profile")
    grey = image.mode in _GREY_MODES
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ImageError(f"{name}: holds floating-point values; save it as 8- or 16-bit first")
    if image.mode.startswith("I"):
        return _from_array(np.asarray(image).astype(np.int64).clip(0, 65535).astype(np.uint16), name)
    if image.mode == "CMYK":
        return Picture(np.array(_cmyk_to_rgb(image, icc)))
    if image.has_transparency_data:
        rgba = np.array(image.convert("RGBA"))
        alpha = None if (rgba[..., 3] == 255).all() else rgba[..., 3].copy()
        return Picture(rgba[..., :3].copy(), alpha, None if grey else icc, grey)
    return Picture(np.array(image.convert("RGB")), None, None if grey else icc, grey)


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert through the embedded press profile where there is one; plain inversion is far too saturated."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(
                image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: the picture is still worth showing
    return image.convert("RGB")


def _tensor_to_hwc(tensor: Tensor) -> np.ndarray:
    if tensor.dim() == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.dim() != 3 or tensor.shape[0] not in (1, 3):
        raise ImageError(f"tensor: shape {tuple(tensor.shape)}, expected (3, H, W) or (1, H, W)")
    return tensor.detach().permute(1, 2, 0).cpu().numpy()


def _from_array(array: np.ndarray, name: str) -> Picture:
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise ImageError(f"{name}: shape {array.shape}, expected (H, W) or (H, W, channels), none empty")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"{name}: larger than the limit of {MAX_PIXELS:,} pixels; cut it into parts first")
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ImageError(f"{name}: holds NaN or infinity")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        raise ImageError(f"{name}: dtype {array.dtype}, expected uint8, uint16, bool or float in [0, 1]")
    colours = array.shape[2] - (array.shape[2] in (2, 4))
    alpha = array[..., -1].copy() if array.shape[2] in (2, 4) else None
    pixels = np.repeat(array[..., :1], 3, axis=2) if colours == 1 else array[..., :3].copy()
    return Picture(pixels, None if alpha is None or (alpha == 255).all() else alpha, None, colours == 1)


def to_array(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of a tensor (3, H, W) in [0, 1]: clipped and rounded, not truncated."""
    return _tensor_to_hwc(image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8))


def to_pil(image: Tensor) -> Image.Image:
    """PIL image of a tensor (3, H, W) in [0, 1]."""
    array = to_array(image)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well, and vanishes when not.

    A reader never sees half a file: the content is flushed to disk, then renamed in one step.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem[:40]}.", suffix=f".part{path.suffix}", dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str], width: int, height: int, *, alpha: bool = False) -> str:
    """The format that `write` would use, found before the work that makes the picture.

    Raises:
        ImageError: unknown suffix, missing folder, alpha in a JPEG, or a size that the format cannot hold.
    """
    path = Path(path)
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(_FORMATS)}"
        )
    if not path.parent.is_dir():
        raise ImageError(f"{path}: the folder {path.parent} does not exist")
    if alpha and kind == "JPEG":
        raise ImageError(f"{path}: JPEG holds no transparency; write PNG, WebP or TIFF")
    limit = {"JPEG": 65_535, "WEBP": 16_383}.get(kind)
    if limit and max(width, height) > limit:
        raise ImageError(f"{path}: {width}×{height} is too large for {kind} ({limit}); write PNG")
    return kind


def write(
    path: str | os.PathLike[str],
    image: Tensor | np.ndarray | Image.Image,
    *,
    alpha: np.ndarray | None = None,
    icc: bytes | None = None,
    quality: int = 95,
) -> None:
    """Write a picture atomically; the suffix chooses PNG, JPEG, WebP or TIFF. No metadata but the profile.

    Args:
        image: tensor (3, H, W) in [0, 1], array (H, W, 3) uint8, or PIL image.
        alpha: (H, W) uint8 transparency (not for JPEG).
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: unknown suffix, missing folder, alpha in a JPEG, or a size that the format cannot hold.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    path = Path(path)
    if isinstance(image, Tensor):
        image = to_pil(image)
    elif isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    kind = check_writable(path, *image.size, alpha=alpha is not None or "A" in image.mode)
    if alpha is not None:
        image = image.copy()
        image.putalpha(Image.fromarray(alpha))
    options: dict[str, object] = {"icc_profile": icc} if icc else {}
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    if kind == "JPEG":
        options["subsampling"] = 0
    with atomic_path(path) as temporary:
        image.save(temporary, kind, exif=b"", **options)


def find_images(
    paths: Iterable[str | os.PathLike[str]], on_error: Callable[[Path, str], None] | None = None
) -> list[Path]:
    """Files named by `paths`, and the pictures (by suffix, sorted) below the folders among them.

    Hidden files are passed over. Folders that cannot be read, loops of links and missing paths go to
    `on_error(path, reason)` (a warning by default) and do not stop the walk.
    """
    report = on_error or (lambda path, reason: warnings.warn(f"{path}: {reason}", stacklevel=3))
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            if path.is_dir():
                found += _walk(path, frozenset(), report)
            elif path.exists():
                found.append(path)
            else:
                report(path, "no such file or folder")
        except OSError as error:
            report(path, error.strerror or str(error))
    return list(dict.fromkeys(found))


def _walk(folder: Path, above: frozenset[Path], report: Callable[[Path, str], None]) -> list[Path]:
    real = folder.resolve()
    if real in above:
        report(folder, "a link that leads back to a folder above it; passed over")
        return []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        report(folder, error.strerror or str(error))
        return []
    found: list[Path] = []
    for entry in entries:
        path = folder / entry.name
        try:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += _walk(path, above | {real}, report)
            elif path.suffix.lower() in SUFFIXES:
                found.append(path)
        except OSError as error:
            report(path, error.strerror or str(error))
    return found


def luma(image: Tensor) -> Tensor:
    """Luminance of BT.601, as MATLAB's rgb2ycbcr: Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255.

    (…, 3, H, W) becomes (…, 1, H, W), with values in [16/255, 235/255]: the channel on which papers measure
    "PSNR-Y".
    """
    if image.dim() < 3 or image.shape[-3] != 3:
        raise ValueError(f"luma needs (…, 3, H, W), got {tuple(image.shape)}")
    weights = image.new_tensor([65.481, 128.553, 24.966]).view(3, 1, 1)
    return ((image * weights).sum(-3, keepdim=True) + 16) / 255


def crop_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Cut right and bottom so that height and width are multiples of `multiple`."""
    height, width = image.shape[-2:]
    if height < multiple or width < multiple:
        raise ValueError(f"an image of {width}×{height} holds no multiple of {multiple}")
    return image[..., : height // multiple * multiple, : width // multiple * multiple]
