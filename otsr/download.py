"""Fetch a file from the web: resumed where it stopped, checked by its hash, never half there under its name."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

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
    """A file that could not be fetched; the message says why and what to do."""


class _Interrupted(Exception):
    """The connection ended early; the bytes received so far are kept."""

    def __init__(self, received: int) -> None:
        self.received = received


def fetch(urls: Sequence[str], target: Path, known: str, *, allowed: bool = True) -> Path:
    """The file `target`, fetched from the first address that has it, unless it is there and intact.

    Bytes go to `target` + ".part". When all are there and the hash fits, the file gets its name in one step. A later
    call goes on where an earlier one stopped, if the server can (HTTP Range). Processes that want the same file wait
    for one another.

    Args:
        urls: addresses of the same content, tried in order.
        known: "sha256:…" or "git-blob:…", the hash that content must have.
        allowed: False never goes to the web; a missing or damaged file is an error then.

    Raises:
        DownloadError: no address has it, the network fails, the content is another, or the disk is full.
    """
    if target.is_file() and matches(target, known):
        return target
    if not allowed:
        state = "damaged (its hash differs)" if target.exists() else "not there"
        raise DownloadError(f"{target} is {state}, and downloading is off; allow it, or put the file there")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if target.is_file() and matches(target, known):  # another process was first
                return target
            problems = []
            for url in urls:
                problem = _fetch_one(url, part, known)
                if problem is None:
                    part.replace(target)
                    return target
                problems.append(problem)
    except OSError as error:
        raise DownloadError(
            f"{error.filename or part}: cannot be written ({error.strerror or error}); make room or set OTSR_CACHE to "
            "another folder, then run again"
        ) from None
    raise DownloadError(
        f"could not be fetched: {'; '.join(problems)}. Run again to go on where it stopped, or fetch {urls[0]} with a "
        f"browser and save it as {target}"
    )


def matches(path: Path, known: str) -> bool:
    """Whether the file's content has the hash "sha256:…" or "git-blob:…" (SHA-1 of b"blob SIZE\\0" + content)."""
    kind, _, expected = known.partition(":")
    if kind == "sha256":
        digest = hashlib.sha256()
    elif kind == "git-blob":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        raise ValueError(f"hash {known!r}, expected sha256:… or git-blob:…")
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == expected


def _fetch_one(url: str, part: Path, known: str) -> str | None:
    """Fill `part` from one address; None when its hash fits, else what went wrong."""
    host = urlsplit(url).netloc
    problem = ""
    failures = most = 0
    while failures < _TRIES:
        resumed = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part, resumed)
        except requests.HTTPError as error:
            return f"{host} says: {error}"
        except (requests.ConnectionError, requests.Timeout) as error:
            return f"{host} cannot be reached ({_reason(error)}); is this machine online?"
        except _Interrupted as error:
            problem = f"{host} ended the connection early, after {error.received} bytes"
            failures = 0 if error.received > most else failures + 1
            most = max(most, error.received)
            continue
        except requests.RequestException as error:
            return f"{host}: {_reason(error)}"
        if matches(part, known):
            return None
        with part.open("rb") as file:
            head = file.read(40)
        part.unlink()  # never go on from content that is wrong
        if not resumed:
            return f"what {host} sends is corrupted or another file (hash differs, it begins with {head!r})"
    return problem


def _receive(url: str, part: Path, resumed: int) -> None:
    """Append to `part` from byte `resumed` on, or write it anew where the server does not do parts."""
    headers = {**_HEADERS, "Range": f"bytes={resumed}-"} if resumed else _HEADERS
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == 416 and resumed:  # nothing after it: the file is complete, or another
            return
        response.raise_for_status()
        start = f"bytes {resumed}-"
        if response.status_code != 206 or not response.headers.get("Content-Range", "").startswith(start):
            resumed = 0
        left = int(response.headers.get("Content-Length", 0))
        if left > MAX_BYTES:
            raise requests.RequestException(f"announces {left} bytes, more than is believed")
        if left > shutil.disk_usage(part.parent).free:
            raise OSError(28, f"{left / 1e6:.0f} MB are needed", str(part.parent))
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                desc=part.stem,
                total=resumed + left or None,
                initial=resumed,
                unit="B",
                unit_scale=True,
                delay=1,
            ) as bar,
        ):
            try:
                for piece in response.iter_content(_CHUNK):
                    bar.update(file.write(piece))
            except requests.RequestException:
                raise _Interrupted(file.tell()) from None
            file.flush()
            os.fsync(file.fileno())
            if left and file.tell() != resumed + left:
                raise _Interrupted(file.tell())


def _reason(error: Exception) -> str:
    """The innermost cause, in a few words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause  # type: ignore[assignment]
    return (str(error) or type(error).__name__).splitlines()[0]
