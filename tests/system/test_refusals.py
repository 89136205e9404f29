"""What can be known at the door is said at the door: status 2, what is wrong, what to do, and nothing is touched."""

import shlex
import shutil
from pathlib import Path

import pytest
import typer
from command import Run, files, picture

from otsr.cli import root
from otsr.degradation import Degradation

UPSCALE = [
    ("upscale 'my photo.jpg'", "otsr upscale 'my photo.jpg' -o 'my photo_large.png'"),
    ("upscale a.jpg b", "otsr upscale a.jpg b -o large/"),
    ("upscale HR -o out --tile 3", "tile is 3"),
    ("upscale HR -o out --ot-weight 0.5 --weights tiny.safetensors", "no partner"),
    ("upscale HR -o out --quality 0", "quality"),
    ("upscale HR -o out --width 9 --height 9", "--width and --height: name one"),
    ("upscale HR -o out --scale 0", "--scale is 0, expected a number above 0"),
    ("upscale HR -o out --megapixels nan", "--megapixels is nan"),
    ("upscale HR -o out --scale 1e200", "is 1e+200, expected a number above 0 and below 1,000,000,000"),
    ("upscale HR -o out --keep-location", "give both"),
    ("upscale HR/a.png -o HR/a.png --overwrite", "HR/a.png is also an input"),
    ("upscale HR -o HR --overwrite", "HR is also an input"),
    ("upscale HR -o link --overwrite", "link is also an input"),
    ("upscale HR -o out.png", "name a folder"),
    ("upscale HR -o good.safetensors", "name a folder"),
    ("upscale HR/a.png -o large.avif", "written as .png, .jpg, .jpeg, .webp, .tif, .tiff, not as .avif"),
    ("upscale HR -o large.jxl", "not as .jxl; to use a folder of that name, make it first"),
    ("upscale HR/a.png -o large.xyz", "not as .xyz; to use a folder of that name, make it first"),
    ("photo.jpg", "there is no command photo.jpg; to enlarge a picture: otsr upscale photo.jpg"),
    ("HR", "; to enlarge a picture: otsr upscale HR"),
]
CAMERA = [
    ("degrade HR -o . --degradation good.safetensors", "HR is also an input; name another folder"),
    ("degrade HR/a.png -o a.png --degradation good.safetensors", "name a folder"),
    ("degrade HR -o out --degradation none.safetensors", "none.safetensors"),
    ("degrade HR -o out --degradation wrong.safetensors", "wrong.safetensors"),
    ("estimate HR/a.png -o camera", ".safetensors"),
    ("estimate HR/a.png -o new.safetensors --scale 3", "--scale is 3"),
    ("estimate HR/a_report.png -o HR/a.safetensors --overwrite", "would be overwritten"),
    ("estimate HR/a.png -o HR/a.safetensors", "a_report.png is there already"),
    ("estimate HR/a.png -o good.safetensors", "--overwrite"),
]
EVALUATE = [
    ("evaluate", "name --data"),
    ("evaluate --data empty --degradation bicubic", "no pictures in this folder"),
    ("evaluate --data HRs --degradation bicubic", "no such file or folder; did you mean HR"),
    ("evaluate --data HR/a.png --degradation bicubic", "a.png: a file; name the folder that holds it"),
    ("evaluate --data HR --weights otsr-huge", "'otsr-huge'"),
    ("evaluate --data HR --degradation no.safetensors", "no.safetensors: no such file"),
    ("evaluate --data HR --degradation good.safetensors --scale 2", "not ×2; estimate it with --scale 2"),
    ("evaluate --data HR --degradation bicubic --against nobody", "--against nobody: no such row"),
    ("evaluate --data HR --lr HR --cleanup 2", "these are there already"),
    ("evaluate --lr HR --draws 2", "--draws varies kernels and noise"),
    ("evaluate --data HR --json no/folder/a.json", "the folder no/folder does not exist"),
    ("evaluate --data HR --ot-weight 0.5", "--ot-weight needs --weights"),
    ("evaluate --data HR --ot-weight 1.5 --weights tiny.safetensors", "ot_weight is 1.5"),
    ("evaluate --sr HR HR", "--sr names the same value twice"),
    ("evaluate --sr HR --data HR --weights tiny.safetensors", "name their folder with --lr"),
    ("evaluate --sr HR --data HR --crop 20", "do not go together"),
    ("evaluate --data phone --lr HR", "brings its own LR pictures"),
]
OTHERS = [
    ("app --port 80000", "65535"),
    ("compare HR", "is not a file; name one photo"),
    ("compare HR/a.png -o HR/a_report.png", "is there already"),
    ("compare HR/a.png --crop 100,0", "--crop 100,0 lies outside the photo"),
    ("compare HR/a.png --crop middle", "expected two numbers"),
    ("compare HR/a.png --weights empty", "best.safetensors"),
    ("download", "otsr download --list"),
    ("download div2", "otsr download --list; did you mean div2k?"),
    ("export otsr-smal -o a.onnx", "did you mean"),
    ("export psnr -o a.pth", "name a file with the suffix .onnx"),
    ("export psnr -o folder.onnx", "folder.onnx is a folder; name a file"),
    ("export psnr -o missing/a.onnx", "make it first"),
    ("train adept", "did you mean adapt?"),
]
HAS_PROC = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
NOWHERE = [  # in a folder that nobody can write to
    pytest.param(f"{command} {path}", f"{path}: nothing can be written there", marks=HAS_PROC)
    for command, path in (
        ("upscale HR/a.png -o", "/proc/none/out"),
        ("estimate HR/a.png -o", "/proc/x.safetensors"),
        ("evaluate --data HR --json", "/proc/x.json"),
        ("train tiny -o", "/proc/none/run"),
    )
]


@pytest.fixture
def place(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with what the commands name."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "HR" / "a.png", 100, 100)
    picture(tmp_path / "HR" / "a_report.png", 100, 100)
    (tmp_path / "link").symlink_to(tmp_path / "HR")
    for folder in ("empty", "folder.onnx"):
        (tmp_path / folder).mkdir()
    shutil.copy(tiny_weights, tmp_path / "tiny.safetensors")
    Degradation(4).save(tmp_path / "good.safetensors")
    (tmp_path / "wrong.safetensors").write_bytes(b"no tensors")
    return tmp_path


@pytest.mark.parametrize(("command", "words"), [*UPSCALE, *CAMERA, *EVALUATE, *OTHERS, *NOWHERE])
def test_what_is_wrong_is_said_and_nothing_touched(otsr: Run, place: Path, command: str, words: str) -> None:
    before = {name: (place / name).read_bytes() for name in files(place)}
    assert words in otsr(*shlex.split(command), status=2).stderr
    assert {name: (place / name).read_bytes() for name in files(place)} == before


def test_a_wrong_folder_of_course_data_is_named(otsr: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTSR_DATA", str(place / "empty"))
    said = otsr("upscale", "HR/a.png", "-o", "out.png", status=2).stderr
    assert "set OTSR_DATA to the repository's data/ folder" in said


def test_a_missing_drive_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _: False)
    with pytest.raises(typer.Exit):
        root.require_writable(Path("/large"))
    assert "/large: there is no /; name another place" in capsys.readouterr().err
