"""`PhotoUpload`: the reader's own photo in a notebook, in JupyterLab, VS Code and Colab.

Where nobody chooses one (a test, a page without a kernel) a photo that comes with the course stands in, so every cell
below runs all the same.
"""

import io
import sys
from pathlib import Path
from typing import Any

import ipywidgets
from PIL import Image

from otsr.images import ImageError, open_picture

ACCEPT = ".jpg,.jpeg,.png,.webp,.tif,.tiff,.bmp,.heic,.heif"
_HEIC = (
    "(An iPhone's HEIC is read where pillow-heif is installed: pip install pillow-heif, then restart the kernel; "
    "or share the photo as JPEG.)"
)


class PhotoUpload(ipywidgets.VBox):
    """A button that takes a photo, and a line that says which photo is taken: `fallback` until one is chosen.

    In JupyterLab and VS Code it is a button, and the cells below are to be run again once a photo was chosen. Colab
    does not carry files through widgets: there Colab's own dialogue opens, and the notebook waits for it. Either way
    the file goes to the machine that runs the notebook, and no further; nothing stays on its disk.

    Attributes:
        name: file name of the photo in use.
        content: that file, byte by byte, with all that its camera wrote into it.
    """

    def __init__(self, fallback: str | Path) -> None:
        self.name, self.content = Path(fallback).name, Path(fallback).read_bytes()
        self.line = ipywidgets.HTML(value=f"No photo chosen yet: {self.name}, which comes with the course, stands in.")
        self.button = ipywidgets.FileUpload(
            accept=ACCEPT, multiple=False, description="Your photo", layout={"width": "240px"}
        )
        self.button.observe(self._chosen, "value")
        in_colab = "google.colab" in sys.modules
        super().__init__(children=[self.line] if in_colab else [self.button, self.line])
        if in_colab:
            from google.colab import files

            for name, content in files.upload().items():  # nothing, when it is cancelled
                self._take(name, content)
                Path(name).unlink(missing_ok=True)  # Colab leaves a copy on its disk

    def image(self) -> Image.Image:
        """The photo as PIL opens it: not yet turned upright, metadata in place."""
        return Image.open(io.BytesIO(self.content))

    def _chosen(self, change: Any) -> None:
        for file in change["new"]:
            self._take(file["name"], file["content"])

    def _take(self, name: str, content: bytes | memoryview) -> None:
        """Use this file if it is a picture; else keep what there was, and say why."""
        try:
            with Image.open(io.BytesIO(content)) as image:
                open_picture(image)
        except ImageError as error:
            problem = f"{name}: {error}."
        except Exception:  # Pillow's decoders raise many kinds for damaged files
            problem = f"{name} cannot be read as a picture: choose a JPEG, PNG, WebP or TIFF. {_HEIC}"
        else:
            self.name, self.content = Path(name).name, bytes(content)
            self.line.value = f"Your photo: {self.name}. Now run the cells below."
            return
        self.line.value = f"{problem} Still in use: {self.name}."

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**kwargs))  # holds the live widget
        bundle["text/plain"] = f"[upload] {self.line.value}"
        return bundle
