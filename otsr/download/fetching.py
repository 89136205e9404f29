"""Fetch a file from the web: resumed where it stopped, checked by its hash, never half there under its name.

pooch asks, writes and shows the progress; the server's answer decides whether its bytes go on from those that are here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

MAX_BYTES = 64 << 30
_TRIES = 3  # in a row that bring nothing new
_CHUNK = 1 << 14  # bytes; what a broken connection can cost at most
_TIMEOUT = (15, 60)  # seconds to connect, and between two pieces
_HEADERS = {
    "Accept": "application/vnd.github.raw+json, application/octet-stream, */*",
    "Accept-Encoding": "identity",
}


class DownloadError(OSError):
    """A file that could not be fetched; the message says why, and what to do."""


def cache_dir() -> Path:
    """Where downloads are kept: $OTSR_CACHE if set, else the system's cache folder."""
    chosen = os.environ.get("OTSR_CACHE")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("otsr"))


def fetch(urls: Sequence[str], target: Path, known: str | None, *, allowed: bool = True) -> Path:
    """The file `target`, fetched from the first address that has it, unless it is there and intact.

    Bytes go to `target` + ".part". When all are there and the hash fits, the file gets its name in one step. A later
    call goes on where an earlier one stopped, if the server can (HTTP Range). Processes that want the same file wait
    for one another.

    Where nobody published a hash, the size must be the one that the server announces, and the hash of what came is
    recorded in `target` + ".sha256": from then on the file must have that. A file put there by hand is taken as it is.

    Args:
        urls: addresses of the same content, tried in order.
        known: "sha256:…", "md5:…" or "git-blob:…", the hash that content must have; None if it is not known.
        allowed: False never goes to the web; a missing or damaged file is an error then.

    Raises:
        DownloadError: no address has it, the network fails, the content is another, or the disk is full.
    """
    if _is_intact(target, known):
        return target
    if not allowed:
        state = "damaged (its hash differs)" if target.exists() else "not there"
        raise DownloadError(f"{target} is {state}, and downloading is off; allow it, or put the file there")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if _is_intact(target, known):  # another process was first
                return target
            problems = []
            for url in urls:
                problem = _fetch_one(url, part, known)
                if not problem:
                    if known is None:
                        _record(target).write_text(f"{pooch.file_hash(str(part))}  {target.name}\n")
                    part.replace(target)
                    return target
                problems.append(problem)
    except OSError as error:
        raise DownloadError(
            f"{error.filename or target}: cannot be written ({error.strerror or error}); make room, or choose another "
            "folder (OTSR_CACHE for weights, --out for data sets)"
        ) from None
    kept = f". Run again to go on after {part.stat().st_size} bytes" if part.exists() else ""
    raise DownloadError(
        f"could not be fetched: {'; '.join(problems)}{kept}. Or fetch {urls[0]} with a browser and save it as {target}"
    )


def matches(path: Path, known: str) -> bool:
    """Whether the content has the hash "sha256:…", "md5:…" or "git-blob:…" (SHA-1 of b"blob SIZE\\0" + content).

    The first eight digits or more are enough, where no more are published.
    """
    kind, _, expected = known.partition(":")
    if kind in ("sha256", "md5"):  # MD5 is what the authors of some data sets published
        found = pooch.file_hash(str(path), kind)
    elif kind == "git-blob":
        content = b"blob %d\0" % path.stat().st_size + path.read_bytes()
        found = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    else:
        raise ValueError(f"hash {known!r}, expected sha256:…, md5:… or git-blob:…")
    return len(expected) >= 8 and found.startswith(expected)


def require_room(folder: Path, needed: int) -> None:
    """Raises OSError if the disk of a folder has fewer free bytes than that."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free", str(folder)
        )


def _record(target: Path) -> Path:
    """Where the hash is kept of a file whose hash nobody published, as sha256sum writes it."""
    return target.with_name(target.name + ".sha256")


def _is_intact(target: Path, known: str | None) -> bool:
    """Whether the file is there and has the hash that is known or recorded."""
    if not target.is_file():
        return False
    if known is None and _record(target).is_file():
        known = f"sha256:{_record(target).read_text().split()[0]}"
    return known is None or matches(target, known)


def _fetch_one(url: str, part: Path, known: str | None) -> str:
    """Fill `part` from one address; empty when all is there and its hash fits, else what went wrong."""
    host = urlsplit(url).netloc
    problem = ""
    failures = most = 0
    while failures < _TRIES:
        answer = _Answer(part)
        try:
            answer.receive(url)
        except requests.HTTPError as error:
            return f"{host} says: {error}"
        except requests.RequestException as error:
            if not answer.came:
                if isinstance(error, (requests.ConnectionError, requests.Timeout)):
                    return f"{host} cannot be reached ({_reason(error)}; is this machine online?)"
                return f"{host}: {_reason(error)}"
            received = part.stat().st_size if part.exists() else 0
            problem = f"{host} ended the connection early, after {received} bytes"
            failures = 0 if received > most else failures + 1
            most = max(most, received)
            continue
        problem = _fault(part, known, answer.total)
        if not problem:
            return ""
        with part.open("rb") as file:
            head = file.read(40)
        part.unlink()  # never go on from content that is wrong
        if not answer.resumed:
            return f"what {host} sends is corrupted or another file ({problem}, it begins with {head!r})"
    return problem


def _fault(part: Path, known: str | None, size: int | None) -> str:
    """What is wrong with a file that came to its end; empty if nothing is."""
    if known is not None:
        return "" if matches(part, known) else "hash differs"
    if size is None:
        return "neither its hash nor its size is known, so nobody can tell whether it is whole"
    found = part.stat().st_size
    return "" if found == size else f"{found} bytes, expected {size}"


class _Answer:
    """One request for what is missing of `part`.

    Attributes:
        resumed: bytes that were there before.
        came: whether the server began to send; errors before and after that mean different things.
        total: bytes of the whole, if the server says so.
    """

    def __init__(self, part: Path) -> None:
        self.part = part
        self.resumed = part.stat().st_size if part.exists() else 0
        self.came = False
        self.total: int | None = None

    def receive(self, url: str) -> None:
        """Append to the part, or write it anew where the server does not do parts."""
        headers = {**_HEADERS, "Range": f"bytes={self.resumed}-"} if self.resumed else _HEADERS
        bar: Any = tqdm(desc=self.part.stem, total=1, unit="B", unit_scale=True, delay=1)
        try:
            with self.part.open("ab") as file, bar:
                hooks = {"response": lambda response, **_: self._begin(response, file)}
                ask = pooch.HTTPDownloader(bar, _CHUNK, headers=headers, hooks=hooks, timeout=_TIMEOUT)
                ask(url, file, None)
                os.fsync(file.fileno())
                if self.total is not None and file.tell() < self.total:
                    raise requests.ConnectionError("the answer is shorter than announced")
        finally:
            if not self.part.stat().st_size:
                self.part.unlink()

    def _begin(self, response: requests.Response, file: Any) -> None:
        """Before the first byte is written: where it belongs, and whether there is room."""
        sent = response.headers.get("Content-Range", "")
        if response.status_code == 416 and self.resumed:  # nothing after it: the file is complete, or another
            whole = sent.rpartition("/")[2]
            self.total = int(whole) if whole.isdigit() else None
            response.status_code, response._content = 200, b""
        elif response.ok and not response.is_redirect:
            start = (
                self.resumed
                if response.status_code == 206 and sent.startswith(f"bytes {self.resumed}-")
                else 0
            )
            left = int(response.headers.get("Content-Length", 0))
            if left > MAX_BYTES:
                raise requests.RequestException(f"announces {left} bytes, more than is believed")
            require_room(self.part.parent, left)
            file.truncate(start)
            self.came = True
            self.total = start + left if left else None


def _reason(error: Exception) -> str:
    """The innermost cause, in a few words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause  # type: ignore[assignment]
    return (str(error) or type(error).__name__).splitlines()[0]
