"""`otsr upscale` on files and folders: names, formats, what is kept, what is skipped."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import Run, files, picture
from PIL import Image, ImageCms

from otsr.cli import jobs
from otsr.inference import Upscaler


@pytest.mark.parametrize(
    ("pictures", "inputs", "made"),
    [
        (["in.jpg"], ["in.jpg"], ["in.png"]),
        (["b.jpg", "in/a.jpg"], ["b.jpg", "in"], ["a.png", "b.png"]),
        (
            ["in/a.jpg", "in/b.png", "in/trip/day 1/c.webp", "in/trip/ü.tif"],
            ["in"],
            ["a.png", "b.png", "trip/day 1/c.png", "trip/ü.png"],
        ),
    ],
)
def test_names_and_subfolders_are_kept_in_a_folder_that_does_not_exist_yet(
    upscale: Run, tmp_path: Path, pictures: list[str], inputs: list[str], made: list[str]
) -> None:
    for name in pictures:
        picture(tmp_path / name)
    (tmp_path / Path(pictures[-1]).parent / "notes.txt").write_text("not a picture")
    result = upscale(*(tmp_path / name for name in inputs), "-o", tmp_path / "deep" / "out")
    assert result.exit_code == 0, result.stderr
    assert files(tmp_path / "deep" / "out") == made
    assert f"{len(made)} done" in result.stderr


@pytest.mark.parametrize(
    ("format", "names"),
    [("jpg", ["a.jpg", "b.jpg"]), ("keep", ["a.JPG", "b.png"]), ("tiff", ["a.tiff", "b.tiff"])],
)
def test_the_format_can_be_chosen(upscale: Run, tmp_path: Path, format: str, names: list[str]) -> None:
    picture(tmp_path / "in" / "a.JPG")
    picture(tmp_path / "in" / "b.gif" if format == "keep" else tmp_path / "in" / "b.png")
    result = upscale(tmp_path / "in", "-o", tmp_path / "out", "--format", format)
    assert result.exit_code == 0, result.stderr
    assert files(tmp_path / "out") == names


def test_what_is_there_already_is_not_made_again(upscale: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"made before")
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "a.png").read_bytes() == b"made before"
    assert "1 done, 1 there already" in result.stderr
    assert "--overwrite makes them again" in result.stderr


def test_a_picture_that_changed_since_is_made_again_with_a_word(upscale: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"made from an older in.png")
    os.utime(tmp_path / "out.png", (1e9, 1e9))
    result = upscale(tmp_path / "in.png", "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.stderr
    assert "out.png is older than" in result.stderr and "making it again" in result.stderr
    assert Image.open(tmp_path / "out.png").size == (48, 40)


def test_a_picture_from_a_clock_that_is_ahead_is_not_made_again(upscale: Run, tmp_path: Path) -> None:
    ahead = time.time() + 86_400
    os.utime(picture(tmp_path / "in" / "a.png"), (ahead, ahead))
    upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert "1 there already" in upscale(tmp_path / "in", "-o", tmp_path / "out").stderr


def test_nothing_is_loaded_when_nothing_is_left_to_do(otsr: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"made before")
    result = otsr("upscale", tmp_path / "in.png", "-o", tmp_path / "out.png", "--weights", "no-such-weights")
    assert result.exit_code == 0, result.stderr


def test_an_abandoned_temporary_file_does_not_count_as_done(upscale: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".a.k2j3.part.png").write_bytes(b"half")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    assert Image.open(tmp_path / "out" / "a.png").size == (48, 40)


def test_an_output_folder_inside_the_input_is_no_input(upscale: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    for _ in range(2):
        result = upscale(tmp_path / "in", "-o", tmp_path / "in" / "x4")
        assert result.exit_code == 0, result.stderr
    assert files(tmp_path / "in") == ["a.png", "x4/a.png"]


def test_alpha_grey_and_profile_are_kept(upscale: Run, tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture(tmp_path / "in" / "alpha.png", mode="RGBA")
    picture(tmp_path / "in" / "grey.png", mode="L")
    picture(tmp_path / "in" / "colour.png")
    with Image.open(tmp_path / "in" / "colour.png") as image:
        image.save(tmp_path / "in" / "colour.png", icc_profile=icc)
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert Image.open(tmp_path / "out" / "alpha.png").mode == "RGBA"
    assert Image.open(tmp_path / "out" / "grey.png").mode == "L"
    assert Image.open(tmp_path / "out" / "colour.png").info["icc_profile"] == icc


def test_the_command_line_and_python_give_the_same(upscale: Run, tmp_path: Path, tiny_weights: Path) -> None:
    from otsr import Upscaler

    picture(tmp_path / "in.png", 60, 50)
    options = {"tile": 32, "ensemble": True, "back_projection": 2}
    assert upscale(
        tmp_path / "in.png", "-o", tmp_path / "out.png", "--tile", 32, "--ensemble", "--back-projection", 2
    ).exit_code == 0  # fmt: skip
    expected = Upscaler.from_pretrained(tiny_weights, **options).upscale(tmp_path / "in.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(expected))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tile", 3), "tile is 3"),
        (("--ot-weight", 1.5), "ot_weight is 1.5"),
        (("--ot-weight", 0.5), "no partner"),
        (("--quality", 0), "quality"),
        (("--width", 9, "--height", 9), "--width and --height: name one"),
        (("--scale", 0), "--scale is 0.0, expected a number above 0"),
        (("--megapixels", "nan"), "--megapixels is nan"),
        (("--keep-location",), "give both"),
    ],
    ids=str,
)
def test_a_wrong_option_ends_with_status_2_and_is_named(
    upscale: Run, tmp_path: Path, options: tuple, words: str
) -> None:
    result = upscale(picture(tmp_path / "in.png"), "-o", tmp_path / "out", *options)
    assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "out").exists()


def test_ot_weight_blends_with_the_partner(otsr: Run, pair: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")

    def made(name: str, *options: object) -> np.ndarray:
        out = tmp_path / "out.png"
        model = pair / f"{name}.safetensors"
        result = otsr("upscale", tmp_path / "in.png", "-o", out, "--weights", model, "--overwrite", *options)
        assert result.exit_code == 0, result.stderr
        return np.asarray(Image.open(out)).astype(int)

    assert np.array_equal(made("transport", "--ot-weight", 0), made("fidelity"))
    half = made("transport", "--ot-weight", 0.5)
    assert np.abs(half - made("fidelity")).max() > 5
    assert np.abs(half - made("transport")).max() > 5


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--scale", 2), (24, 20)),
        (("--scale", 1.5), (18, 15)),
        (("--scale", 5), (60, 50)),
        (("--width", 31), (31, 26)),
        (("--height", 33), (40, 33)),
        (("--megapixels", 0.00048), (24, 20)),
    ],
    ids=str,
)
def test_the_size_can_be_chosen(upscale: Run, tmp_path: Path, options: tuple, size: tuple[int, int]) -> None:
    result = upscale(picture(tmp_path / "in.png"), "-o", tmp_path / "out.png", *options)
    assert result.exit_code == 0, result.stderr
    assert Image.open(tmp_path / "out.png").size == size
    assert ("beyond the network's ×4" in result.stderr) == (options == ("--scale", 5))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.jpg"])
def test_sixteen_bits_stay_where_the_format_has_them(
    upscale: Run, tmp_path: Path, name: str, channels: int
) -> None:
    from otsr import images

    if name == "out.jpg" and channels in (2, 4):
        return  # it holds no transparency
    values = np.random.default_rng(0).integers(0, 65536, (9, 9, channels), dtype=np.uint16)
    images.write(tmp_path / "in.png", values)
    result = upscale(tmp_path / "in.png", "-o", tmp_path / name)
    assert result.exit_code == 0, result.stderr
    assert (images.open_picture(tmp_path / name, deep=True).white == 65535) == (name != "out.jpg")
    assert ("16 bits a sample become 8" in result.stderr) == (name == "out.jpg")


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp", "out.tif"])
def test_metadata_is_kept_if_asked_for_and_the_place_if_asked_twice(
    upscale: Run, tmp_path: Path, name: str
) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera maker", 6
    exif[0x8769] = {33434: 0.01, 37500: b"a preview and a serial number", 40962: 12}
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0)}
    Image.new("RGB", (12, 10)).save(tmp_path / "in.jpg", exif=exif)
    for options, places in (((), 0), (("--keep-metadata",), 0), (("--keep-metadata", "--keep-location"), 2)):
        result = upscale(tmp_path / "in.jpg", "-o", tmp_path / name, "--overwrite", *options)
        assert result.exit_code == 0, result.stderr
        with Image.open(tmp_path / name) as out:
            kept = out.getexif()
            assert out.size == (40, 48)
            assert kept.get(0x010F) == ("A camera maker" if options else None)
            assert kept.get(0x0112, 1) == 1
            assert set(kept.get_ifd(0x8769)) == ({33434} if options else set())
            assert len(kept.get_ifd(0x8825)) == places


@pytest.mark.parametrize(
    ("suffix", "several"), [("avif", False), ("jxl", True), ("jfif", False), ("bmp", True)]
)
def test_a_format_that_is_not_written_is_no_folder(
    upscale: Run, tmp_path: Path, suffix: str, several: bool
) -> None:
    photo = picture(tmp_path / "in" / "photo.png")
    result = upscale(photo.parent if several else photo, "-o", tmp_path / f"large.{suffix}")
    assert result.exit_code == 2 and ".png, .jpg" in result.stderr and f"not as .{suffix}" in result.stderr
    assert not (tmp_path / f"large.{suffix}").exists()
    (tmp_path / f"large.{suffix}").mkdir()
    assert upscale(photo, "-o", tmp_path / f"large.{suffix}").exit_code == 0


def test_two_pictures_never_become_one_file(upscale: Run, tmp_path: Path) -> None:
    for suffix in ("jpg", "png"):
        picture(tmp_path / "two" / f"a.{suffix}")
    result = upscale(tmp_path / "two", "-o", tmp_path / "out")
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert all(words in result.stderr for words in ("a.png", "a.jpg", "would both become", "--format keep"))
    assert upscale(tmp_path / "two", "-o", tmp_path / "out", "--format", "keep").exit_code == 0
    assert files(tmp_path / "out") == ["a.jpg", "a.png"]


def test_names_that_differ_in_case_alone_clash_where_a_system_does_not_tell_them_apart(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two").mkdir()
    picture(tmp_path / "two" / "a.jpg")
    picture(tmp_path / "two" / "A.png")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_CASELESS", (sys.platform,))
        result = upscale(tmp_path / "two", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "would both become" in result.stderr and not (tmp_path / "out").exists()
    if sys.platform not in jobs._CASELESS:
        assert upscale(tmp_path / "two", "-o", tmp_path / "out").exit_code == 0
        assert files(tmp_path / "out") == ["A.png", "a.png"]


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


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("upscale {}/in.png -o /proc/none/out", "/proc/none/out: nothing can be written"),
        ("estimate {}/in.png -o /proc/x.safetensors", "nothing can be written"),
        ("evaluate --data {} --json /proc/x.json", "nothing can be written"),
        ("pack {} -o /proc/x.lmdb", "nothing can be written"),
        ("train tiny -o /proc/none/run", "nothing can be written"),
        ("evaluate --degradation bicubic --data {}/in.png", "in.png: a file; name the folder that holds it"),
        ("compare {}", "is not a file; name one photo"),
        ("train adept", "there are adapt, df2k"),
        ("train adept", "did you mean adapt?"),
        ("photo.jpg", "there is no command photo.jpg; to enlarge a picture: otsr upscale photo.jpg"),
        ("{}", "; to enlarge a picture: otsr upscale "),
    ],
)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_what_can_be_known_at_the_door_is_said_at_the_door(
    otsr: Run, tmp_path: Path, command: str, words: str
) -> None:
    picture(tmp_path / "in.png")
    result = otsr(*command.format(*[tmp_path] * 2).split())
    assert result.exit_code == 2 and words in result.stderr, result.stderr
