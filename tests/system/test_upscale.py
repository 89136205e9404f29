"""`otsr upscale` on files and folders: names, formats, what is kept, what is skipped."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Run, files, picture
from PIL import Image, ImageCms

from otsr import images
from otsr.cli import jobs
from otsr.inference import Upscaler

Enlarge = Callable[..., str]


@pytest.fixture
def enlarge(upscale: Run) -> Enlarge:
    """Run `otsr upscale`, which must end well; the answer is what it says."""

    def run(*arguments: object) -> str:
        result = upscale(*arguments)
        assert result.exit_code == 0, result.stderr
        return result.stderr

    return run


@pytest.mark.parametrize(
    ("pictures", "inputs", "made"),
    [
        (["in.jpg"], ["in.jpg"], ["in.png"]),
        (["b.jpg", "in/a.jpg"], ["b.jpg", "in"], ["a.png", "b.png"]),
        (["in/b.png", "in/trip/day 1/c.webp", "in/trip/ü.tif"], ["in"], ["b.png", "trip/day 1/c.png", "trip/ü.png"]),
    ],
)  # fmt: skip
def test_names_and_subfolders_are_kept_in_a_folder_that_does_not_exist_yet(
    enlarge: Enlarge, tmp_path: Path, pictures: list[str], inputs: list[str], made: list[str]
) -> None:
    for name in pictures:
        picture(tmp_path / name)
    (tmp_path / Path(pictures[-1]).parent / "notes.txt").write_text("not a picture")
    said = enlarge(*(tmp_path / name for name in inputs), "-o", tmp_path / "deep" / "out")
    assert files(tmp_path / "deep" / "out") == made
    assert f"{len(made)} done" in said


@pytest.mark.parametrize(
    ("format", "names"),
    [("jpg", ["a.jpg", "b.jpg"]), ("keep", ["a.JPG", "b.png"]), ("tiff", ["a.tiff", "b.tiff"])],
)
def test_the_format_can_be_chosen(enlarge: Enlarge, tmp_path: Path, format: str, names: list[str]) -> None:
    picture(tmp_path / "in" / "a.JPG")
    picture(tmp_path / "in" / "b.gif")
    enlarge(tmp_path / "in", "-o", tmp_path / "out", "--format", format)
    assert files(tmp_path / "out") == names


def test_what_is_there_is_left_alone_unless_it_is_older_than_its_picture(enlarge: Enlarge, tmp_path: Path) -> None:
    """A temporary file of a run that was killed does not count as done; a folder may have any name."""
    out = tmp_path / "out.avif"
    out.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "in" / name)
    for name in ("a.png", "b.png", ".c.k2j3.part.png"):
        (out / name).write_bytes(b"made before")
    os.utime(out / "b.png", (1e9, 1e9))
    said = enlarge(tmp_path / "in", "-o", out)
    assert (out / "a.png").read_bytes() == b"made before"
    assert all(Image.open(out / name).size == (48, 40) for name in ("b.png", "c.png"))
    assert "b.png is older than" in said and "making it again" in said
    assert "2 done, 1 there already" in said and "--overwrite makes them again" in said


def test_an_older_file_that_was_named_is_kept(upscale: Run, tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"somebody's own")
    os.utime(tmp_path / "out.png", (1e9, 1e9))
    photo = picture(tmp_path / "in.png")
    result = upscale(photo, "-o", tmp_path / "out.png")
    assert result.exit_code == 2 and "out.png is there already" in result.stderr
    assert (tmp_path / "out.png").read_bytes() == b"somebody's own"
    assert upscale(photo, "-o", tmp_path / "out.png", "--overwrite").exit_code == 0


def test_a_picture_from_a_clock_that_is_ahead_is_not_made_again_nor_is_an_output_inside_the_input_enlarged(
    enlarge: Enlarge, tmp_path: Path
) -> None:
    ahead = time.time() + 86_400
    os.utime(picture(tmp_path / "in" / "a.png"), (ahead, ahead))
    for words in ("1 done", "1 there already"):
        assert words in enlarge(tmp_path / "in", "-o", tmp_path / "in" / "x4")
    assert files(tmp_path / "in") == ["a.png", "x4/a.png"]


def test_nothing_is_loaded_when_nothing_is_left_to_do(otsr: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"made before")
    result = otsr("upscale", tmp_path / "in.png", "-o", tmp_path / "out.png", "--weights", "no-such-weights")
    assert result.exit_code == 0, result.stderr


def test_alpha_grey_and_profile_are_kept(enlarge: Enlarge, tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode in ("RGBA", "L", "RGB"):
        Image.new(mode, (12, 10)).save(tmp_path / f"{mode}.png", icc_profile=icc if mode == "RGB" else None)
        enlarge(tmp_path / f"{mode}.png", "-o", tmp_path / "out" / f"{mode}.png")
        assert Image.open(tmp_path / "out" / f"{mode}.png").mode == mode
    enlarge(tmp_path / "RGB.png", "-o", tmp_path / "out" / "RGB.jpg")
    for name in ("RGB.png", "RGB.jpg"):
        assert Image.open(tmp_path / "out" / name).info["icc_profile"] == icc


def test_the_command_line_and_python_give_the_same(enlarge: Enlarge, tmp_path: Path, tiny_weights: Path) -> None:
    photo = picture(tmp_path / "in.png", 60, 50)
    enlarge(photo, "-o", tmp_path / "out.png", "--tile", 32, "--ensemble", "--back-projection", 2)
    upscaler = Upscaler.from_pretrained(tiny_weights, tile=32, ensemble=True, back_projection=2)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(upscaler.upscale(photo)))


def test_ot_weight_blends_with_the_partner(otsr: Run, pair: Path, tmp_path: Path) -> None:
    photo = picture(tmp_path / "in.png")

    def made(name: str, *options: object) -> np.ndarray:
        out, model = tmp_path / "out.png", pair / f"{name}.safetensors"
        result = otsr("upscale", photo, "-o", out, "--weights", model, "--overwrite", *options)
        assert result.exit_code == 0, result.stderr
        return np.asarray(Image.open(out)).astype(int)

    fidelity, half = made("fidelity"), made("transport", "--ot-weight", 0.5)
    assert np.array_equal(made("transport", "--ot-weight", 0), fidelity)
    assert min(np.abs(half - fidelity).max(), np.abs(half - made("transport")).max()) > 5


@pytest.mark.parametrize(
    ("options", "size"),
    [(("--scale", 1.5), (18, 15)), (("--scale", 5), (60, 50)), (("--width", 31), (31, 26)),
     (("--height", 33), (40, 33)), (("--megapixels", 0.00048), (24, 20))],
    ids=str,
)  # fmt: skip
def test_the_size_can_be_chosen(enlarge: Enlarge, tmp_path: Path, options: tuple, size: tuple[int, int]) -> None:
    said = enlarge(picture(tmp_path / "in.png"), "-o", tmp_path / "out.png", *options)
    assert Image.open(tmp_path / "out.png").size == size
    assert ("beyond the network's ×4" in said) == (options == ("--scale", 5))


@pytest.mark.parametrize(
    ("name", "channels"),
    [("out.png", 1), ("out.png", 4), ("out.tif", 2), ("out.tif", 3), ("out.jpg", 1), ("out.jpg", 3)],
)
def test_sixteen_bits_stay_where_the_format_has_them(
    enlarge: Enlarge, tmp_path: Path, name: str, channels: int
) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 9, channels), dtype=np.uint16)
    images.write(tmp_path / "in.png", values)
    said = enlarge(tmp_path / "in.png", "-o", tmp_path / name)
    assert (images.open_picture(tmp_path / name, deep=True).white == 65535) == (name != "out.jpg")
    assert ("16 bits a sample become 8" in said) == (name == "out.jpg")


def test_metadata_that_a_tiff_of_16_bits_goes_without_is_named(enlarge: Enlarge, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera maker"
    images.write(tmp_path / "in.png", np.zeros((9, 9, 3), np.uint16), exif=exif.tobytes())
    for name in ("out.png", "out.tif"):
        said = enlarge(tmp_path / "in.png", "-o", tmp_path / name, "--keep-metadata")
        with Image.open(tmp_path / name) as image:
            assert (image.getexif().get(0x010F) is None) == (name == "out.tif")
        assert ("metadata is left out" in said) == (name == "out.tif")


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp", "out.tif"])
def test_metadata_is_kept_if_asked_for_and_the_place_if_asked_twice(
    enlarge: Enlarge, tmp_path: Path, name: str
) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera maker", 6
    exif[0x8769] = {33434: 0.01, 37500: b"a preview and a serial number", 40962: 12}
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0)}
    Image.new("RGB", (12, 10)).save(tmp_path / "in.jpg", exif=exif)
    for options, places in (((), 0), (("--keep-metadata",), 0), (("--keep-metadata", "--keep-location"), 2)):
        enlarge(tmp_path / "in.jpg", "-o", tmp_path / name, "--overwrite", *options)
        with Image.open(tmp_path / name) as out:
            kept = out.getexif()
            assert out.size == (40, 48)
            assert kept.get(0x010F) == ("A camera maker" if options else None)
            assert kept.get(0x0112, 1) == 1
            assert set(kept.get_ifd(0x8769)) == ({33434} if options else set())
            assert len(kept.get_ifd(0x8825)) == places


@pytest.mark.parametrize(("other", "caseless"), [("a.png", ()), ("A.png", (sys.platform,))])
def test_two_pictures_never_become_one_file(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, caseless: tuple
) -> None:
    """Names that differ in case alone clash where a system does not tell them apart, and only there."""
    picture(tmp_path / "two" / "a.jpg")
    picture(tmp_path / "two" / other)
    monkeypatch.setattr(jobs, "_CASELESS", caseless)
    result = upscale(tmp_path / "two", "-o", tmp_path / "out")
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert all(words in result.stderr for words in (other, "a.jpg", "would both become", "--format keep"))
    assert upscale(tmp_path / "two", "-o", tmp_path / "out", "--format", "keep").exit_code == 0
    assert sorted(files(tmp_path / "out")) == sorted(["a.jpg", other])
    if caseless:
        monkeypatch.setattr(jobs, "_CASELESS", ())
        assert len(jobs.plan([tmp_path / "two"], tmp_path / "other")[0]) == 2


def test_all_clashes_are_named_at_once(upscale: Run, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.jpg", "b.png", "c.png"):
        picture(tmp_path / "in" / name)
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 2 and result.stderr.count("would both become") == 2


def test_a_photo_is_not_written_over_where_a_system_does_not_tell_its_name_from_the_outputs(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = picture(tmp_path / "a.png").rename(tmp_path / "A.PNG")
    before = photo.read_bytes()
    monkeypatch.setattr(jobs, "_CASELESS", (sys.platform,))
    result = upscale(photo, "-o", tmp_path)
    assert result.exit_code == 2 and "is also an input" in result.stderr
    assert files(tmp_path) == ["A.PNG"] and photo.read_bytes() == before


def test_metadata_that_jpeg_cannot_hold_is_named_before_the_work(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x010E] = 70_000 * "a"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", exif=exif)
    monkeypatch.setattr(Upscaler, "upscale", lambda *_, **__: pytest.fail("worked for nothing"))
    result = upscale(tmp_path / "a.png", "-o", tmp_path / "b.jpg", "--keep-metadata")
    assert result.exit_code == 1 and "68 KB of metadata are too much for JPEG" in result.stderr
