"""Downloads against a real HTTP server on this machine: whole, broken off, resumed, corrupted, refused, at once."""

from __future__ import annotations

import hashlib
import importlib
import io
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
from otsr.download.fetching import DownloadError, fetch
from otsr.networks.generators import RRDBNet
from otsr.weights import WeightsError

room = importlib.import_module("otsr.weights.catalogue")
CONTENT = bytes(range(256)) * 4096  # 1 MiB
BREAK = 18 << 14  # a multiple of the pieces that are written


def blob_id(content: bytes) -> str:
    """What `git hash-object` prints."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Server:
    """Serves one content at any address, with faults that a test switches on."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.ranges = True  # honours Range
        self.status = 200
        self.stop_after: list[int] = []  # per answer: bytes of body before the connection is closed
        self.say_length = True
        self.length = ""  # in place of the true one
        self.seen: list[str | None] = []  # the Range of each request
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/model.pth"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.seen.append(wanted)
        if request.path == "/moved":
            request.send_response(302)
            request.send_header("Location", self.url)
            request.send_header("Content-Length", "5000")
            request.end_headers()
            request.wfile.write(bytes(5000))
            return
        body, status = self.content, self.status
        if wanted and self.ranges and status == 200:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            body, status = self.content[start:], 206 if start < len(self.content) else 416
        request.send_response(status)
        if self.say_length:
            request.send_header("Content-Length", self.length or str(len(body)))
        if status == 416:
            request.send_header("Content-Range", f"bytes */{len(self.content)}")
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        request.end_headers()
        with suppress(ConnectionError):  # the client may go away on purpose
            request.wfile.write(body[: self.stop_after.pop(0)] if self.stop_after else body)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "model.pth"


def files(target: Path) -> dict[str, int]:
    """What lies in the cache, but for the lock: name and size."""
    return {p.name: p.stat().st_size for p in target.parent.iterdir() if p.suffix != ".lock"}


MD5 = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"


@pytest.mark.parametrize(
    "known",  # the last is what `git hash-object` prints
    [sha256(CONTENT), MD5, "git-blob:ea8e482b990b87c0f69d29fd1dd6a41d0f1a514b"],
    ids=["sha256", "md5", "git"],
)
def test_a_good_file_is_fetched_once_and_kept(known: str, server: Server, target: Path) -> None:
    for _ in range(2):
        assert fetch([server.url], target, known) == target
    assert target.read_bytes() == CONTENT
    assert files(target) == {"model.pth": len(CONTENT)}
    assert server.seen == [None]


@pytest.mark.parametrize(
    ("content", "fault", "words"),
    [
        (CONTENT[:-1] + b"\0", {}, r"corrupted or different file.*save it as .*model\.pth"),
        (b"<!DOCTYPE html><html>Quota exceeded</html>", {}, "begins with b'<!DOCTYPE html>"),
        (CONTENT, {"say_length": False, "stop_after": [BREAK]}, "corrupted"),
        (CONTENT, {"status": 404}, r"404 .*http://127\.0\.0\.1:\d+/model\.pth"),
    ],
    ids=["corrupted", "error page", "cut without a length", "404"],
)
def test_what_is_not_the_file_never_gets_its_name(
    server: Server, target: Path, content: bytes, fault: dict[str, Any], words: str
) -> None:
    vars(server).update(fault, content=content)
    with pytest.raises(DownloadError, match=words):
        fetch([server.url], target, sha256(CONTENT))
    assert files(target) == {}


@pytest.mark.parametrize(("breaks", "ranges"), [(7, True), (1, False)])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    server: Server, target: Path, breaks: int, ranges: bool
) -> None:
    """As often as bytes come; from the beginning where the server does no parts."""
    piece = 8 * (1 << 14)
    server.ranges, server.stop_after = ranges, [piece] * breaks
    fetch([server.url], target, sha256(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.seen == [None, *(f"bytes={i * piece}-" for i in range(1, breaks + 1))]


def test_a_file_that_stays_truncated_is_kept_as_a_part_and_resumed_later(
    server: Server, target: Path
) -> None:
    server.stop_after = [BREAK, 0, 0, 0]
    with pytest.raises(
        DownloadError, match=rf"closed the connection early, after {BREAK} bytes.*Run again to go on"
    ):
        fetch([server.url], target, sha256(CONTENT))
    assert files(target) == {"model.pth.part": BREAK}
    server.seen.clear()
    fetch([server.url], target, sha256(CONTENT))
    assert server.seen == [f"bytes={BREAK}-"]
    assert target.read_bytes() == CONTENT
    assert files(target) == {"model.pth": len(CONTENT)}


def test_a_file_that_moved_is_followed_and_resumed(server: Server, target: Path) -> None:
    server.stop_after = [BREAK]
    fetch([server.url.replace("model.pth", "moved")], target, None)
    assert target.read_bytes() == CONTENT
    assert server.seen == [None, None, f"bytes={BREAK}-", f"bytes={BREAK}-"]


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("model.pth.part", b"x" * 1000, ["bytes=1000-", None]),
        ("model.pth.part", b"x" * (len(CONTENT) + 5), [f"bytes={len(CONTENT) + 5}-", None]),
        ("model.pth.part", CONTENT, [f"bytes={len(CONTENT)}-"]),
        ("model.pth", CONTENT[:-1], [None]),
    ],
    ids=["a part of another file", "a longer one", "a complete part", "a file that rotted"],
)
def test_what_lies_there_is_used_if_it_is_right_and_thrown_away_if_not(
    server: Server, target: Path, name: str, content: bytes, asked: list[str | None]
) -> None:
    target.parent.mkdir()
    target.with_name(name).write_bytes(content)
    fetch([server.url], target, sha256(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.seen == asked


def refused_url() -> str:
    """An address on this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/model.pth"


def test_offline_the_message_says_what_to_do(target: Path) -> None:
    url = refused_url()
    with pytest.raises(DownloadError) as caught:
        fetch([url], target, sha256(CONTENT))
    message = str(caught.value)
    for words in ("cannot be reached", "refused", "online?", f"fetch {url} with a browser", str(target)):
        assert words in message
    assert files(target) == {}


def test_the_next_address_is_tried_and_goes_on_with_the_same_part(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("model.pth.part").write_bytes(CONTENT[:1000])
    fetch([refused_url(), server.url], target, sha256(CONTENT))
    assert server.seen == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_when_every_address_fails_each_reason_is_given(server: Server, target: Path) -> None:
    server.status = 500
    with pytest.raises(DownloadError, match=r"cannot be reached.*; .*500"):
        fetch([refused_url(), server.url], target, sha256(CONTENT))


def test_callers_at_the_same_time_share_one_download(server: Server, target: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(fetch, [server.url], target, sha256(CONTENT)) for _ in range(4)]
        assert {job.result() for job in jobs} == {target}
    assert server.seen == [None]
    assert target.read_bytes() == CONTENT


def test_a_full_disk_is_noticed_before_the_download(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(
        DownloadError,
        match=r"0.00105 GB are needed, 1e-06 GB are free\); make room, or choose another folder \(OTSR_CACHE",
    ):
        fetch([server.url], target, sha256(CONTENT))
    assert files(target) == {}


def test_an_unknown_kind_of_hash_is_a_mistake_of_the_caller(server: Server, target: Path) -> None:
    with pytest.raises(ValueError, match="hash 'crc32:0', expected sha256"):
        fetch([server.url], target, "crc32:0")


def test_a_file_without_a_known_hash_is_checked_by_size_and_then_left_alone(
    server: Server, target: Path
) -> None:
    server.stop_after = [BREAK]
    for _ in range(2):
        fetch([server.url], target, None)
    assert server.seen == [None, f"bytes={BREAK}-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", [{"say_length": False}, {"length": "many"}])
def test_a_file_of_unknown_hash_and_size_is_not_trusted(
    server: Server, target: Path, fault: dict[str, Any]
) -> None:
    vars(server).update(fault)
    with pytest.raises(DownloadError, match="its size differs, or is not told"):
        fetch([server.url], target, None)
    assert files(target) == {}


def test_a_complete_part_without_a_known_hash_is_used_and_a_longer_one_thrown_away(
    server: Server, target: Path
) -> None:
    target.parent.mkdir()
    for left, requests in ((CONTENT, 1), (CONTENT + b"more", 2)):
        server.seen.clear()
        target.with_name("model.pth.part").write_bytes(left)
        fetch([server.url], target, None)
        assert target.read_bytes() == CONTENT
        assert len(server.seen) == requests
        target.unlink()


@pytest.fixture
def authors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server holds a small network as OTSR's authors would, and the catalogue knows it as `otsr-df2k`."""
    torch.manual_seed(0)
    path = tmp_path / "theirs.pth"
    torch.save(RRDBNet(4, 1, 2).state_dict(), path)
    server.content = path.read_bytes()
    entry = room.Entry(
        "otsr-df2k", "a test", "CC0", len(server.content),
        urls=(server.url,), known=f"git-blob:{blob_id(server.content)}",
    )  # fmt: skip
    monkeypatch.setattr(room, "ENTRIES", (entry,))
    monkeypatch.setenv("OTSR_CACHE", str(tmp_path / "cache"))
    return server


def test_named_weights_come_from_the_web_once(authors: Server, tmp_path: Path) -> None:
    (entry,) = weights.catalogue()
    assert not entry.present
    assert weights.load("otsr-df2k").architecture["nf"] == 4
    assert entry.present and entry.path == tmp_path / "cache" / "weights" / "otsr-df2k.pth"
    assert weights.load("otsr-df2k", download=False).architecture["nf"] == 4
    assert len(authors.seen) == 1


def test_named_weights_are_not_fetched_when_that_is_forbidden(authors: Server) -> None:
    with pytest.raises(WeightsError, match="otsr-df2k is not on this machine; run: otsr download otsr-df2k"):
        weights.load("otsr-df2k", download=False)
    assert authors.seen == []


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


def test_the_cache_is_the_systems_unless_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OTSR_CACHE", raising=False)
    assert room.cache_dir().name == "otsr"
    monkeypatch.setenv("OTSR_CACHE", str(tmp_path))
    assert room.cache_dir() == tmp_path


PICTURES = {f"SET_HR/{i:04d}.png": random.Random(i).randbytes(200_000) for i in range(5)}


@pytest.fixture
def data_set(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server holds a zip of five pictures, which the catalogue knows as `pictures`, its hash too."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in PICTURES.items():
            archive.writestr(name, content)
    server.content = file.getvalue()
    size = len(server.content)
    archive_entry = sets.Archive("SET_HR.zip", size, size, 5, server.url, sha256(server.content))
    entry = sets.DataSet("pictures", "a test", "CC0", "https://example.org", (archive_entry,))
    monkeypatch.setattr(sets, "DATA_SETS", (entry,))
    return server


def unpacked(root: Path) -> dict[str, bytes]:
    return {f"SET_HR/{path.name}": path.read_bytes() for path in (root / "pictures" / "SET_HR").glob("*")}


def test_a_data_set_is_fetched_unpacked_and_then_left_alone(
    data_set: Server, otsr: Run, tmp_path: Path
) -> None:
    for place in ("not here (web)", "here"):
        listed = otsr("download", "--list", "-o", tmp_path).stdout
        assert re.search(rf"pictures +1\.0 MB  {re.escape(place)} +CC0", listed)
        result = otsr("download", "pictures", "-o", tmp_path)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.strip() == str(tmp_path / "pictures")
    assert unpacked(tmp_path) == PICTURES
    assert data_set.seen == [None]
    (tmp_path / "pictures" / "SET_HR.zip").unlink()
    assert otsr("download", "pictures", "-o", tmp_path).exit_code == 0
    assert data_set.seen == [None]


def test_a_data_set_that_comes_corrupted_is_not_unpacked(data_set: Server, otsr: Run, tmp_path: Path) -> None:
    data_set.content = data_set.content[:5000] + b"x" + data_set.content[5001:]
    result = otsr("download", "pictures", "-o", tmp_path)
    assert result.exit_code == 1 and "corrupted or different file" in result.stderr
    assert not (tmp_path / "pictures" / "SET_HR").exists()


def test_a_data_set_of_unknown_hash_is_said_to_be_so(
    data_set: Server, otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = sets.DATA_SETS
    unknown = replace(entry, archives=(replace(entry.archives[0], known=None),))
    monkeypatch.setattr(sets, "DATA_SETS", (unknown,))
    result = otsr("download", "pictures", "-o", tmp_path)
    assert result.exit_code == 0
    assert "SET_HR.zip: nobody published its hash, so its size is checked" in result.stderr


def test_one_name_that_fails_does_not_stop_the_others(data_set: Server, otsr: Run, tmp_path: Path) -> None:
    (entry,) = sets.DATA_SETS
    closed = sets.DataSet(
        "closed", "a test", "CC0", "https://example.org/join", (sets.Archive("a.zip", 1, 1),)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "DATA_SETS", (closed, entry))
        result = otsr("download", "closed", "pictures", "-o", tmp_path)
    assert result.exit_code == 1
    assert "Register at https://example.org/join" in result.stderr
    assert unpacked(tmp_path) == PICTURES
