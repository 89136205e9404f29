"""Pictures in and out: read anything, resize as MATLAB does, write atomically.

Everywhere in the package an image is a float32 tensor of sRGB values in [0, 1], (3, H, W) or (B, 3, H, W).
"""

from otsr.images.decoding import MAX_PIXELS, ImageSource, open_picture, read
from otsr.images.finding import SUFFIXES, UNREADABLE, did_you_mean, find_images, label, name_of, suggestion
from otsr.images.picture import ImageError, Picture, as_batch, crop_to_multiple, luma, to_array, to_pil
from otsr.images.resampling import resize
from otsr.images.writing import DEEP, FORMATS, atomic_path, check_writable, metadata, write

__all__ = [
    "DEEP", "FORMATS", "MAX_PIXELS", "SUFFIXES", "UNREADABLE", "ImageError", "ImageSource", "Picture", "as_batch",
    "atomic_path", "check_writable", "crop_to_multiple", "did_you_mean", "find_images", "label", "luma", "metadata",
    "name_of", "open_picture", "read", "resize", "suggestion", "to_array", "to_pil", "write",
]  # fmt: skip
