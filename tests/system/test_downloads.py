"""Downloads against a real HTTP server on this machine: whole, broken off, resumed, corrupted, refused, at once."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import random
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command import Run

from otsr import weights
from otsr.download import sets
from otsr.download.fetching import DownloadError, cache_dir, fetch
from otsr.networks.generators import RRDBNet
from otsr.weights import WeightsError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
BREAK = 8 << 14  # a multiple of the pieces that are written
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"


class Answer(BaseHTTPRequestHandler):
    """The server's content at any address, with the faults that a test has switched on."""

    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.seen.append(wanted)
        body, status, headers = server.content, server.status, {}
        if self.path == "/moved":
            body, status, headers = bytes(5000), 302, {"Location": server.url}
        elif wanted and server.ranges and status == 200:
            start, size = int(wanted.removeprefix("bytes=").removesuffix("-")), len(body)
            body, status = body[start:], 206 if start < size else 416
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}" if body else f"bytes */{size}"
        if server.length is not None:
            headers["Content-Length"] = server.length or str(len(body))
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        if server.stop_after and status != 302:
            body = body[: server.stop_after.pop(0)]
        with suppress(ConnectionError):  # the client may go away on purpose
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    content = CONTENT
    status = 200
    ranges = True  # honours Range
    length: str | None = ""  # said in place of the true one; None: nothing is said

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.stop_after: list[int] = []  # per answer: bytes of body before the connection is closed
        self.seen: list[str | None] = []  # the Range of each request
        self.url = f"http://127.0.0.1:{self.server_port}/model.pth"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "model.pth"


def files(target: Path) -> dict[str, int]:
    """What lies in the cache, but for the lock: name and size."""
    return {p.name: p.stat().st_size for p in target.parent.iterdir() if p.suffix != ".lock"}


def refused_url() -> str:
    """An address on this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/model.pth"


@pytest.mark.parametrize(
    "known",  # the last is what `git hash-object` prints
    [SHA256, SHA256[: len("sha256:") + 8], MD5, "git-blob:ea8e482b990b87c0f69d29fd1dd6a41d0f1a514b"],
    ids=["sha256", "eight digits", "md5", "git"],
)
def test_a_good_file_is_fetched_once_for_all_callers(known: str, server: Server, target: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(fetch, [server.url], target, known) for _ in range(4)]
    assert {job.result() for job in jobs} == {target}
    assert fetch([server.url], target, known) == target  # nor later: see what the server has seen
    assert target.read_bytes() == CONTENT
    assert files(target) == {"model.pth": len(CONTENT)}
    assert server.seen == [None]


@pytest.mark.parametrize(
    ("known", "fault", "words"),
    [
        (SHA256, {"content": CONTENT[:-1] + b"\0"}, r"corrupted or different.*save it as .*model\.pth"),
        (SHA256, {"content": b"<!DOCTYPE html>Quota exceeded"}, "begins with b'<!DOCTYPE html>"),
        (SHA256, {"length": None, "stop_after": [BREAK]}, "corrupted"),  # cut, and no length was said
        (SHA256[: len("sha256:") + 7], {}, "corrupted"),
        (SHA256, {"status": 404}, r"404 .*http://127\.0\.0\.1:\d+/model\.pth"),
        (None, {"length": None}, "its size differs, or is not told"),
        (None, {"length": "many"}, "its size differs, or is not told"),
    ],
)
def test_what_is_not_the_file_never_gets_its_name(
    server: Server, target: Path, known: str | None, fault: dict[str, Any], words: str
) -> None:
    vars(server).update(fault)
    with pytest.raises(DownloadError, match=words):
        fetch([server.url], target, known)
    assert files(target) == {}


@pytest.mark.parametrize(("breaks", "ranges"), [(7, True), (1, False)])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    server: Server, target: Path, breaks: int, ranges: bool
) -> None:
    """As often as bytes come; from the beginning where the server does no parts."""
    server.ranges, server.stop_after = ranges, [BREAK] * breaks
    fetch([server.url], target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.seen == [None, *(f"bytes={i * BREAK}-" for i in range(1, breaks + 1))]


def test_a_file_that_stays_truncated_is_kept_and_resumed_later(server: Server, target: Path) -> None:
    server.stop_after = [BREAK, 0, 0, 0]
    words = rf"closed the connection early, after {BREAK} bytes.*Run again to go on"
    with pytest.raises(DownloadError, match=words):
        fetch([server.url], target, SHA256)
    assert files(target) == {"model.pth.part": BREAK}
    fetch([refused_url(), server.url], target, SHA256)  # from any address that has it
    assert server.seen[4:] == [f"bytes={BREAK}-"]
    assert target.read_bytes() == CONTENT
    assert files(target) == {"model.pth": len(CONTENT)}


def test_a_file_that_moved_is_followed_resumed_and_without_a_hash_checked_by_size_and_left_alone(
    server: Server, target: Path
) -> None:
    server.stop_after = [BREAK]
    for _ in range(2):
        fetch([server.url.replace("model.pth", "moved")], target, None)
    assert target.read_bytes() == CONTENT
    assert server.seen == [None, None, f"bytes={BREAK}-", f"bytes={BREAK}-"]


LONGER = CONTENT + b"more."


@pytest.mark.parametrize(
    ("name", "content", "known", "asked"),
    [
        ("model.pth.part", b"x" * 1000, SHA256, ["bytes=1000-", None]),
        ("model.pth.part", LONGER, SHA256, [f"bytes={len(LONGER)}-", None]),
        ("model.pth.part", LONGER, None, [f"bytes={len(LONGER)}-", None]),
        ("model.pth.part", CONTENT, SHA256, [f"bytes={len(CONTENT)}-"]),
        ("model.pth.part", CONTENT, None, [f"bytes={len(CONTENT)}-"]),
        ("model.pth", CONTENT[:-1], SHA256, [None]),
    ],
    ids=["another file", "longer", "longer, no hash", "complete", "complete, no hash", "a file that rotted"],
)
def test_what_lies_there_is_used_if_it_is_right_and_thrown_away_if_not(
    server: Server, target: Path, name: str, content: bytes, known: str | None, asked: list[str | None]
) -> None:
    target.parent.mkdir()
    target.with_name(name).write_bytes(content)
    fetch([server.url], target, known)
    assert target.read_bytes() == CONTENT
    assert server.seen == asked


def test_when_every_address_fails_each_reason_is_given_and_what_to_do(server: Server, target: Path) -> None:
    server.status, url = 500, refused_url()
    with pytest.raises(DownloadError, match=r"cannot be reached.*refused.*online\?.*; .*500") as caught:
        fetch([url, server.url], target, SHA256)
    assert f"fetch {url} with a browser and save it as {target}" in str(caught.value)
    assert files(target) == {}


def test_a_full_disk_is_noticed_before_the_download_or_at_its_end(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(DownloadError, match=r"0.00105 GB are needed, 1e-06 GB are free\); make room, or"):
            fetch([server.url], target, SHA256)
    assert files(target) == {}
    monkeypatch.setattr(os, "fsync", full)  # some file systems notice only when the data are flushed
    words = r"cannot be written \(No space left on device\); make room, or choose another folder \(OTSR_CACHE"
    with pytest.raises(DownloadError, match=words):
        fetch([server.url], target, SHA256)
    assert not target.exists()


def test_an_unknown_kind_of_hash_is_a_mistake_of_the_caller(server: Server, target: Path) -> None:
    with pytest.raises(ValueError, match="hash 'crc32:0', expected sha256"):
        fetch([server.url], target, "crc32:0")


def test_the_cache_is_the_systems_unless_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTSR_CACHE", raising=False)  # where it is set: below
    assert cache_dir().name == "otsr"


@pytest.fixture
def authors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server holds a small network as OTSR's authors would, and the catalogue knows it as `otsr-df2k`."""
    room = importlib.import_module("otsr.weights.catalogue")
    torch.save(RRDBNet(4, 1, 2).state_dict(), tmp_path / "theirs.pth")
    server.content = (tmp_path / "theirs.pth").read_bytes()
    size = len(server.content)
    blob = hashlib.sha1(b"blob %d\0" % size + server.content).hexdigest()
    entry = room.Entry("otsr-df2k", "a test", "CC0", size, urls=(server.url,), known=f"git-blob:{blob}")
    monkeypatch.setattr(room, "ENTRIES", (entry,))
    monkeypatch.setenv("OTSR_CACHE", str(tmp_path / "cache"))
    return server


def test_named_weights_come_from_the_web_once_where_that_is_allowed(authors: Server, tmp_path: Path) -> None:
    (entry,) = weights.catalogue()
    assert not entry.present
    with pytest.raises(WeightsError, match="otsr-df2k is not on this machine; run: otsr download otsr-df2k"):
        weights.load("otsr-df2k", download=False)
    assert authors.seen == []
    assert weights.load("otsr-df2k").architecture["nf"] == 4
    assert entry.present and entry.path == tmp_path / "cache" / "weights" / "otsr-df2k.pth"
    assert weights.load("otsr-df2k", download=False).architecture["nf"] == 4
    assert len(authors.seen) == 1


def test_named_weights_are_checked_each_time_and_never_loaded_when_damaged(authors: Server) -> None:
    path = weights.locate("otsr-df2k")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="otsr-df2k is damaged; run: otsr download otsr-df2k"):
        weights.load("otsr-df2k", download=False)
    assert weights.load("otsr-df2k").architecture["nf"] == 4
    assert len(authors.seen) == 2
    path.unlink()
    authors.content = authors.content[:-1] + b"\xff"
    with pytest.raises(WeightsError, match=r"otsr-df2k: could not be fetched: .*corrupted"):
        weights.load("otsr-df2k")
    assert not path.exists()


PICTURES = {f"{i:04d}.png": random.Random(i).randbytes(200_000) for i in range(5)}


@pytest.fixture
def data_set(server: Server, monkeypatch: pytest.MonkeyPatch) -> sets.DataSet:
    """The server holds a zip of five pictures, which the catalogue knows as `pictures`, its hash too."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in PICTURES.items():
            archive.writestr(f"SET_HR/{name}", content)
    server.content = file.getvalue()
    size, known = len(server.content), f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    archives = (sets.Archive("SET_HR.zip", size, size, 5, server.url, known),)
    entry = sets.DataSet("pictures", "a test", "CC0", "https://example.org", archives)
    monkeypatch.setattr(sets, "DATA_SETS", (entry,))
    return entry


def unpacked(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "pictures" / "SET_HR").glob("*")}


def test_a_data_set_is_fetched_unpacked_and_then_left_alone(
    data_set: sets.DataSet, server: Server, otsr: Run, tmp_path: Path
) -> None:
    for place in ("not here (web)", "here"):
        listed = otsr("download", "--list", "-o", tmp_path).stdout
        assert re.search(rf"pictures +1\.0 MB  {re.escape(place)} +CC0", listed)
        result = otsr("download", "pictures", "-o", tmp_path, status=0)
        assert result.stdout.strip() == str(tmp_path / "pictures")
        assert unpacked(tmp_path) == PICTURES
        (tmp_path / "pictures" / "SET_HR.zip").unlink(missing_ok=True)
    assert server.seen == [None]


def test_one_name_that_fails_does_not_stop_the_others_and_an_unknown_hash_is_said_to_be_so(
    data_set: sets.DataSet, otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = replace(data_set, name="closed", archives=(sets.Archive("a.zip", 1, 1),))
    unknown = replace(data_set, archives=(replace(data_set.archives[0], known=None),))
    monkeypatch.setattr(sets, "DATA_SETS", (closed, unknown))
    said = otsr("download", "closed", "pictures", "-o", tmp_path, status=1).stderr
    assert "Register at https://example.org" in said
    assert "SET_HR.zip: nobody published its hash, so its size is checked" in said
    assert unpacked(tmp_path) == PICTURES
