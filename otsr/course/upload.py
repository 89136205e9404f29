"""`PhotoUpload`: the reader's own photo in a notebook, in JupyterLab, VS Code and Colab.

Where nobody chooses one (a test, a page without a kernel) a photo that comes with the course stands in, so every cell
below runs all the same.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets
from PIL import Image

from otsr.images import ImageError, open_picture

ACCEPT = ".jpg,.jpeg,.png,.webp,.tif,.tiff,.bmp,.heic,.heif"


class PhotoUpload(ipywidgets.VBox):
    """A button that takes a photo, and a line that says which photo is taken.

    In JupyterLab and VS Code it is a button, and the cells below are to be run again once a photo was chosen. Colab
    does not carry files through widgets: there Colab's own dialogue opens, and the notebook waits for it. Either way
    the file goes to the machine that runs the notebook, and no further; nothing stays on its disk.

    Args:
        fallback: the photo to use until one is chosen.

    Attributes:
        name: file name of the photo in use.
        content: that file, byte by byte, with all that its camera wrote into it.
    """

    def __init__(self, fallback: str | Path) -> None:
        self.name, self.content = Path(fallback).name, Path(fallback).read_bytes()
        self.line = ipywidgets.HTML(
            value=f"No photo chosen yet: {self.name}, which comes with the course, stands in."
        )
        self.button = ipywidgets.FileUpload(
            accept=ACCEPT, multiple=False, description="Your photo", layout={"width": "240px"}
        )
        self.button.observe(lambda change: self._take(change["new"]), "value")
        in_colab = "google.colab" in sys.modules
        super().__init__(children=[self.line] if in_colab else [self.button, self.line])
        if in_colab:
            self._choose(_colab_dialogue())

    def image(self) -> Image.Image:
        """The photo as PIL opens it: not yet turned upright, metadata in place."""
        return Image.open(io.BytesIO(self.content))

    def _take(self, value: Any) -> None:
        """The widget's value: in ipywidgets 8 a tuple of {name, content}."""
        self._choose({file["name"]: bytes(file["content"]) for file in value})

    def _choose(self, files: Mapping[str, bytes]) -> None:
        """Use the first of the files if it is a picture; else keep what there was, and say why."""
        for name, content in files.items():
            try:
                _check(name, content)
            except ImageError as error:
                self.line.value = f"{error} Still in use: {self.name}."
                return
            self.name, self.content = Path(name).name, content
            self.line.value = f"Your photo: {self.name}. Now run the cells below."
            return

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**kwargs))  # holds the live widget
        bundle["text/plain"] = f"[upload] {self.line.value}"
        return bundle


def _check(name: str, content: bytes) -> None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            open_picture(image)
    except ImageError as error:
        raise ImageError(f"{name}: {error}.") from None
    except Exception:  # Pillow's decoders raise many kinds for damaged files
        raise ImageError(
            f"{name} cannot be read as a picture: choose a JPEG, PNG, WebP or TIFF. "
            "(An iPhone's HEIC is read where pillow-heif is installed: pip install pillow-heif, then restart the "
            "kernel; or share the photo as JPEG.)"
        ) from None


def _colab_dialogue() -> dict[str, bytes]:
    """Colab's own upload, without the copy that it leaves on Colab's disk; empty when it is cancelled."""
    from google.colab import files

    uploaded: dict[str, bytes] = files.upload()
    for name in uploaded:
        Path(name).unlink(missing_ok=True)
    return uploaded
