"""Files of weights from strangers: nothing in them is run, and what they are is said."""

import io
import json
import pickle
import random
import re
import struct
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_networks import picture, rrdbnet

from otsr import weights
from otsr.networks.generators import RRDBNet
from otsr.weights import WeightsError
from otsr.weights.layouts import MAX_BYTES


@dataclass
class Malicious:
    """Unpickled without care, this creates a file."""

    target: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_does_not_run(zipped: bool, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    state = {**rrdbnet().state_dict(), "extra": Malicious(trap)}
    torch.save(state, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"evil\.pth: holds code \((io|_io|builtins)\.open\).*is refused"):
        weights.load(tmp_path / "evil.pth")
    assert not trap.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)["extra"].close()
    assert trap.exists()  # the trap works: only the care above kept it shut


def test_code_in_a_tar_is_refused_for_torch_versions_that_would_run_it(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    payload = pickle.dumps(Malicious(trap))
    for first in ("sys_info", b"\x80\x02".decode("utf-8", "surrogateescape")):  # as a pickle begins
        with tarfile.open(tmp_path / "evil.pth", "w", format=tarfile.USTAR_FORMAT) as archive:
            for name in (first, "pickle", "storages", "tensors"):
                info = tarfile.TarInfo(name)
                info.size = len(payload)
                archive.addfile(info, io.BytesIO(payload))
        with pytest.raises(WeightsError, match=r"an? (tar )?archive"):
            weights.load(tmp_path / "evil.pth")
    assert not trap.exists()


def test_the_content_decides_not_the_suffix_nor_the_torch_that_wrote_it(tmp_path: Path) -> None:
    network = rrdbnet()
    state = network.state_dict()
    torch.save(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "pytorch_model.bin")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for length in range(0, 256, 8):  # until the header's length begins with the byte of a pickle
        weights.save(network, tmp_path / "b.safetensors", {"note": "." * length})
        if (tmp_path / "b.safetensors").read_bytes()[0] == 0x80:
            break
    (tmp_path / "b.safetensors").rename(tmp_path / "b.pth")
    assert (tmp_path / "b.pth").read_bytes()[0] == 0x80
    for path in tmp_path.iterdir():
        assert torch.equal(weights.load(path)(picture()), network(picture()))


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"content")
    return buffer.getvalue()


def lying(shape: list[int], end: int) -> bytes:
    """A safetensors file of four bytes, whose header says more."""
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


def test_the_error_says_what_a_foreign_file_is(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content, words in (
        (b"", "the file is empty (0 bytes)"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(600), "a picture"),
        (b"\n<!DOCTYPE html>\n<html><body>404", "a web page: a server's error or log-in page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"just some notes\n" * 100, "plain text"),
        (b"\x1f\x8b\x08" + bytes(100), "an archive; unpack it first"),
        (archive("photo1.jpg", "photo2.jpg"), "a ZIP archive (photo1.jpg, photo2.jpg"),
        (archive("net/code/net.py", "net/data.pkl"), "a TorchScript program"),
        (bytes(range(200, 255)), "unknown binary data (it begins with"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged"),
        (pickle.dumps([1, 2, 3]), "damaged, or not a PyTorch file"),
        (struct.pack("<Q", 10**12) + b"{}", "damaged, or not a safetensors file"),
        (lying([1 << 40], 4), "damaged, or not a safetensors file"),
        (lying([1 << 62, 1 << 62], 4), "damaged, or not a safetensors file"),
        (lying([1], 1 << 50), "damaged, or not a safetensors file"),
    ):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"weights\.pth: {re.escape(words)}.*expected weights"):
            weights.load(path)


def test_a_file_above_the_limit_is_not_opened_nor_a_zip_unpacked_that_would_be(tmp_path: Path) -> None:
    with (tmp_path / "huge.pth").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(WeightsError, match=r"huge\.pth: 2\.0 GiB, above the limit of 2 GiB"):
        weights.load(tmp_path / "huge.pth")
    content = bytearray(archive("a/data.pkl"))
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, 0xFFFFFFF0)  # the plain size
    (tmp_path / "bomb.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="unpacks to more than 2 GiB"):
        weights.load(tmp_path / "bomb.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_damaged_file_is_refused_or_read_but_never_fails_otherwise(kind: str, tmp_path: Path) -> None:
    path, state = tmp_path / "a.pth", rrdbnet(nf=2, gc=1).state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    chance = random.Random(0)
    for _ in range(20):
        path.write_bytes(whole[: chance.randrange(1, len(whole))])
        with pytest.raises(WeightsError):
            weights.load(path)
    for _ in range(40):
        changed = bytearray(whole)
        for _ in range(chance.choice([1, 4, 64])):
            changed[chance.randrange(len(whole))] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            assert isinstance(weights.load(path), RRDBNet)
        except WeightsError as error:
            assert str(path) in str(error)


def test_a_path_that_is_no_file_is_refused_with_what_to_name(tmp_path: Path) -> None:
    for path, words in (
        ("missing.pth", r"missing\.pth: no such file; `otsr info`"),
        ("", "a folder without best"),
    ):
        with pytest.raises(WeightsError, match=words):
            weights.load(tmp_path / path)
