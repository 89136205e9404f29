"""The upload button: a photo chosen, none chosen, a wrong one, and Colab, where another dialogue opens."""

import io
import sys
import types
from datetime import datetime, timezone
from pathlib import Path
from types import FunctionType
from typing import Any

import ipywidgets
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from otsr.course.upload import PhotoUpload


@pytest.fixture
def fallback(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "stand-in.jpg")
    return tmp_path / "stand-in.jpg"


def photo(kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (30, 20)).save(file, kind, **options)
    return file.getvalue()


def choose(upload: PhotoUpload, name: str, content: bytes) -> None:
    """What the browser does when a file is chosen."""
    file = {"name": name, "type": "image/jpeg", "size": len(content), "content": memoryview(content)}
    upload.button.value = [{**file, "last_modified": datetime.now(timezone.utc)}]


def test_until_a_photo_is_chosen_the_one_of_the_course_stands_in(fallback: Path) -> None:
    upload = PhotoUpload(fallback)
    assert upload.button in upload.children and ".jpg" in upload.button.accept
    assert upload.image().size == (8, 6) and upload.content == fallback.read_bytes()
    data, _ = DisplayFormatter().format(upload)
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == f"[upload] {upload.line.value}"
    assert upload.line.value == "No photo chosen yet: stand-in.jpg, which comes with the course, stands in."


def test_the_photo_that_was_chosen_last_is_taken_with_all_its_bytes(fallback: Path) -> None:
    upload = PhotoUpload(fallback)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    for name, kind in (("IMG_20240714.jpg", "JPEG"), ("scan.tif", "TIFF")):
        choose(upload, name, photo(kind, exif=exif))
        assert upload.image().size == (30, 20) and upload.image().getexif()[0x010F] == "Maker"
        assert upload.name == name and name in upload.line.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.7 and so on", "HEIC is read where pillow-heif is installed"),
        (photo()[:200], "choose a JPEG"),
        (photo("TIFF", "F"), "holds floating-point values"),
    ],
)
def test_a_wrong_file_is_refused_and_the_last_one_stays(fallback: Path, content: bytes, words: str) -> None:
    upload = PhotoUpload(fallback)
    choose(upload, "good.jpg", photo())
    choose(upload, "bad.jpg", content)
    assert words in upload.line.value and "Still in use: good.jpg" in upload.line.value
    assert upload.name == "good.jpg"


@pytest.mark.parametrize("answer", [{}, {"mine.jpg": photo()}])
def test_in_colab_its_own_dialogue_opens_and_no_copy_stays_on_the_disk(
    fallback: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, bytes]
) -> None:
    def files_upload() -> dict[str, bytes]:
        for name, content in answer.items():
            Path(name).write_bytes(content)
        return answer

    colab = types.ModuleType("google.colab")
    colab.files = types.SimpleNamespace(upload=files_upload)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.chdir(tmp_path)
    upload = PhotoUpload(fallback)
    assert upload.name == next(iter(answer), "stand-in.jpg") and upload.button not in upload.children
    assert list(tmp_path.iterdir()) == [fallback]


def test_nothing_of_the_widget_is_overridden_but_its_display() -> None:
    """A widget has an `open` of its own: without it no page would show this one."""
    ours = {name for name, value in vars(PhotoUpload).items() if isinstance(value, (FunctionType, property))}
    assert ours & set(dir(ipywidgets.VBox)) == {"__init__", "_repr_mimebundle_"}
