"""Decode a picture of any kind: upright pixels, transparency, colour profile; a clear error where that fails."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from otsr.images.finding import suggestion
from otsr.images.picture import ImageError, Picture, to_hwc

with suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()

MAX_PIXELS = 100_000_000
_OTHER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_BITS, _PHOTOMETRIC, _ORIENTATION, _PLANES = 258, 262, 274, 284  # TIFF tags
_FEW_GREYS = {"L;2": 85, "L;4": 17}
_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_UPRIGHT = {number: Image.Transpose[name] for number, name in enumerate(_TURNS.split(), 2)}  # by EXIF's orientation

ImageSource: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | Tensor"


def read(source: ImageSource) -> Tensor:
    """A picture as a tensor (3, H, W) in [0, 1], transparency composited on white; see `open_picture`."""
    return open_picture(source).on_white()


def open_picture(source: ImageSource, *, deep: bool = False) -> Picture:
    """Decode a picture of any common kind.

    Grey, palette, CMYK, RGBA and EXIF-rotated pictures become upright RGB with separate alpha. Of an animation the
    first frame is taken, with a warning. EXIF, GPS and other metadata are dropped.

    Args:
        source: a path, a PIL image, an array (H, W) or (H, W, 1|3|4) (uint8, uint16, or float in [0, 1]),
            or a float tensor (3, H, W) or (1, H, W) in [0, 1].
        deep: keep more than 8 bits where there are some; else they are rounded to 8.

    Raises:
        ImageError: the file is missing, may not be read, is empty, truncated, no image, or larger than MAX_PIXELS;
            or its values have no known white.
    """
    if isinstance(source, Tensor):
        picture = _from_array(to_hwc(source), "tensor")
    elif isinstance(source, np.ndarray):
        picture = _from_array(source, "array")
    elif isinstance(source, Image.Image):
        with explained("image"):
            picture = _from_pil(source, "image")
    else:
        with explained(source):
            if not Path(source).is_file():
                raise ImageError(f"{source}: no such file{suggestion(Path(source))}")
            # By an open file: given a path, Pillow maps plain TIFFs into memory, and scrambles those on their side.
            with Path(source).open("rb") as file, Image.open(file) as image:
                picture = _from_pil(image, str(source), Path(source))
    if deep or picture.white == 255:
        return picture
    values = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    eight_bits = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return replace(_from_array(eight_bits, "picture"), icc=picture.icc, grey=picture.grey)


@contextmanager
def explained(name: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a decoder raises into one ImageError that names the file; damaged files raise anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        with Path(name).open("rb") as file:
            head = file.read(12)
        found = f"it begins with {head!r}" if head else "it is empty"
        heic = "" if ".heic" in Image.registered_extensions() else " (which needs pip install pillow-heif)"
        kinds = f"PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF, or HEIC{heic}"
        raise ImageError(f"{name}: not a picture that can be read ({found}); expected {kinds}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: larger than the limit of {MAX_PIXELS:,} pixels ({error})") from None
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # the system's word, not the decoder's
            raise ImageError(f"{name}: cannot be read: {error.strerror}") from None
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name}: damaged or truncated ({reason}); fetch or export it again") from None


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        found = f"{width}×{height} is above the limit of {MAX_PIXELS:,} pixels"
        raise ImageError(f"{name}: {found}; cut it first")


def _from_pil(image: Image.Image, name: str, path: Path | None = None) -> Picture:
    if image.format == "EPS":
        raise ImageError(f"{name}: PostScript, a program that draws; it is not run. Export it as PNG")
    _check_size(name, *image.size)
    if getattr(image, "n_frames", 1) > 1:
        warnings.warn(f"{name}: {image.n_frames} frames; only the first is used", stacklevel=4)  # type: ignore[attr-defined]
        if path is None:  # the caller opened it, and may have moved on
            image.seek(0)
    tags, modes = getattr(image, "tag_v2", {}), _raw_modes(image)
    bits = max(tags.get(_BITS, (8,)))
    if tags.get(_PLANES) == 2 and bits > 8 and len(tags[_BITS]) > 1:  # Pillow would scramble them
        raise ImageError(f"{name}: {bits} bits a sample, one plane after the other; save it interleaved")
    icc, key = image.info.get("icc_profile"), image.info.get("transparency")
    spread = _FEW_GREYS.get(next(iter(modes), ""))
    if key is not None and spread:  # Pillow spreads the pixels over 8 bits, and not the key
        image.info["transparency"] = key = key * spread
    if image.mode == "F":
        raise ImageError(f"{name}: holds floating-point values; save it as 8- or 16-bit first")
    if image.mode == "CMYK":
        return Picture(np.array(_cmyk_to_rgb(_upright(image), icc)))
    if image.mode.startswith("I"):
        values: np.ndarray | None = _integers(image, name)
    else:
        values = None if path is None else _sixteen_bits(path, image)
    if values is None:
        kind = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        upright = _upright(image)
        values = np.asarray(upright.convert(kind + "A" * upright.has_transparency_data))
    elif key is not None and values.shape[2:] in ((), (3,)):  # what has the colour `key` is transparent
        visible = (np.atleast_3d(values) != np.array(key)).any(-1)
        values = np.dstack([values, visible * np.uint16(65535)])
    picture = _from_array(values, name)
    # A profile is kept if it is one of the picture's colour space, which its bytes 16 to 19 name.
    fits = icc is not None and icc[16:20] == (b"GRAY" if picture.grey else b"RGB ")
    return replace(picture, icc=icc if fits else None)


def _raw_modes(image: Image.Image) -> set[str]:
    """How a file that is not decoded yet holds its samples."""
    return {str(args[0] if isinstance(args, tuple) else args) for *_, args in getattr(image, "tile", ())}


def _upright(image: Image.Image) -> Image.Image:
    """The picture as EXIF says that it is to be shown.

    Unlike `ImageOps.exif_transpose`, which writes all EXIF anew, it minds no other tag, however odd.
    """
    image.load()  # turns a TIFF by itself
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _integers(image: Image.Image, name: str) -> np.ndarray:
    """(H, W) uint16 of a grey picture of more than 8 bits, upright, scaled by the depth that its file declares."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    values = np.asarray(_upright(image)).astype(np.int64)
    white = (1 << bits) - 1
    if bits > 16 or values.min() < 0 or values.max() > white:
        found = f"integers of {bits} bits from {values.min()} to {values.max()}, with no known white"
        raise ImageError(f"{name}: holds {found}; save it as 8- or 16-bit grey first")
    values = (values * 65535 + white // 2) // white
    return (65535 - values if tags.get(_PHOTOMETRIC) == 0 else values).astype(np.uint16)


def _sixteen_bits(path: Path, image: Image.Image) -> np.ndarray | None:
    """(H, W, 2|3|4) uint16 of the picture in a file, upright; None where it has 8 bits, or is grey without alpha.

    `image` is the same file, opened and not yet decoded; it is decoded.
    """
    modes = _raw_modes(image)
    if modes == {"LA;16B"}:  # opened as RGBA; its four bytes are those of grey and alpha
        _take_for(image, "RGBA")
        return np.ascontiguousarray(_upright(image)).view(">u2").astype(np.uint16)
    if len(modes) != 1 or not (mode := modes.pop()).startswith(("RGB;16", "RGBA;16", "RGBX;16")):
        return None
    with Image.open(path) as again:  # Pillow keeps the upper byte of each sample: of swapped ones, the lower
        _take_for(again, mode[:-3] + _OTHER[mode[-3:]])
        lower = np.asarray(_upright(again))
    values = np.asarray(_upright(image)).astype(np.uint16)
    values <<= 8
    values |= lower
    return values


def _take_for(image: Image.Image, mode: str) -> None:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
        for tile in image.tile  # type: ignore[attr-defined]
    ]


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert through the embedded press profile where there is one; plain inversion is far too saturated."""
    if icc:
        with suppress(ImageCms.PyCMSError, OSError):  # a broken profile: the picture is still worth showing
            profile, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")  # type: ignore[return-value]
    return image.convert("RGB")


def _from_array(array: np.ndarray, name: str) -> Picture:
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise ImageError(f"{name}: shape {array.shape}, expected (H, W) or (H, W, channels), none empty")
    _check_size(name, array.shape[1], array.shape[0])
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ImageError(f"{name}: holds NaN or infinity")
        if array.min() >= 0 and 2 < array.max() <= 255:  # would become a white picture
            raise ImageError(f"{name}: holds values up to {array.max():g}, expected [0, 1]; divide by 255")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name}: dtype {array.dtype}, expected uint8, uint16, bool or float in [0, 1]")
    colours, alpha = array, None
    if array.shape[2] in (2, 4):
        colours, alpha = array[..., :-1], array[..., -1].copy()
        if (alpha == np.iinfo(array.dtype).max).all():
            alpha = None
    grey = colours.shape[2] == 1
    return Picture(np.repeat(colours, 3, axis=2) if grey else colours.copy(), alpha, None, grey)
