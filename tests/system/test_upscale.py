"""`otsr upscale` on files and folders: names, formats, what is kept, what is skipped."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from command import Run, files, picture
from PIL import Image, ImageCms


def test_one_picture_into_a_file(upscale: Run, tmp_path: Path) -> None:
    result = upscale(picture(tmp_path / "in.jpg"), "-o", tmp_path / "out.webp")
    assert result.exit_code == 0, result.stderr
    with Image.open(tmp_path / "out.webp") as out:
        assert (out.format, out.size) == ("WEBP", (48, 40))


def test_one_picture_into_a_folder_that_does_not_exist_yet(upscale: Run, tmp_path: Path) -> None:
    result = upscale(picture(tmp_path / "in.jpg"), "-o", tmp_path / "deep" / "out")
    assert result.exit_code == 0, result.stderr
    assert files(tmp_path / "deep") == ["out/in.png"]


def test_a_folder_keeps_its_names_and_subfolders(upscale: Run, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "trip/day 1/c.webp", "trip/ü.tif"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert files(tmp_path / "out") == ["a.png", "b.png", "trip/day 1/c.png", "trip/ü.png"]
    assert "4 done" in result.stderr


def test_files_and_folders_together(upscale: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.jpg")
    result = upscale(picture(tmp_path / "b.jpg"), tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert files(tmp_path / "out") == ["a.png", "b.png"]


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


def test_a_picture_that_changed_since_is_made_again(upscale: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"made from an older in.png")
    hour_ago = time.time() - 3600
    os.utime(tmp_path / "out.png", (hour_ago, hour_ago))
    result = upscale(tmp_path / "in.png", "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.stderr
    assert Image.open(tmp_path / "out.png").size == (48, 40)


def test_nothing_is_loaded_when_nothing_is_left_to_do(otsr: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"made before")
    result = otsr("upscale", tmp_path / "in.png", "-o", tmp_path / "out.png", "--weights", "no-such-weights")
    assert result.exit_code == 0, result.stderr


def test_overwrite_makes_it_again(upscale: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"made before")
    result = upscale(tmp_path / "in.png", "-o", tmp_path / "out.png", "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert Image.open(tmp_path / "out.png").size == (48, 40)


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


def test_alpha_into_a_jpeg_is_refused_before_the_work(upscale: Run, tmp_path: Path) -> None:
    result = upscale(picture(tmp_path / "in.png", mode="RGBA"), "-o", tmp_path / "out.jpg")
    assert result.exit_code == 1
    assert "transparency" in result.stderr and "PNG" in result.stderr


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
        (("--device", "abacus"), "abacus"),
        (("--precision", "fp8"), "fp8"),
        (("--tile", "3"), "tile is 3"),
        (("--ot-weight", "1.5"), "ot_weight is 1.5"),
        (("--ot-weight", "0.5"), "no partner"),
        (("--quality", "0"), "quality"),
    ],
)
def test_a_wrong_option_ends_with_status_2_and_is_named(
    upscale: Run, tmp_path: Path, options: tuple[str, str], words: str
) -> None:
    result = upscale(picture(tmp_path / "in.png"), "-o", tmp_path / "out.png", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_ot_weight_blends_with_the_partner(otsr: Run, tmp_path: Path) -> None:
    import torch

    from otsr import weights
    from otsr.networks.generators import Compact

    for seed, name in enumerate(("fidelity", "transport")):
        torch.manual_seed(seed)
        network = Compact(nf=4, nb=1, scale=4)
        torch.nn.init.normal_(network.body[-1].weight, std=0.2)
        notes = {"partner": "fidelity.safetensors"} if name == "transport" else {}
        weights.save(network, tmp_path / f"{name}.safetensors", notes)
    picture(tmp_path / "in.png")

    def made(name: str, *options: object) -> np.ndarray:
        out = tmp_path / "out.png"
        model = tmp_path / f"{name}.safetensors"
        result = otsr("upscale", tmp_path / "in.png", "-o", out, "--weights", model, "--overwrite", *options)
        assert result.exit_code == 0, result.stderr
        return np.asarray(Image.open(out)).astype(int)

    assert np.array_equal(made("transport", "--ot-weight", 0), made("fidelity"))
    half = made("transport", "--ot-weight", 0.5)
    assert np.abs(half - made("fidelity")).max() > 5
    assert np.abs(half - made("transport")).max() > 5
