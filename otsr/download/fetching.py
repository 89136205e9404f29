"""Fetch a file from the web: resumed where it stopped, checked by its hash, never half there under its name."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
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
    """A file that could not be fetched; the message says why and what to do."""


class _Interrupted(Exception):
    """The connection ended early; the bytes received so far are kept."""

    def __init__(self, received: int) -> None:
        self.received = received


def cache_dir() -> Path:
    """Where downloads are kept: $OTSR_CACHE if set, else the system's cache folder."""
    chosen = os.environ.get("OTSR_CACHE")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("otsr"))


def fetch(
    urls: Sequence[str], target: Path, known: str | None, *, size: int | None = None, allowed: bool = True
) -> Path:
    """The file `target`, fetched from the first address that has it, unless it is there and intact.

    Bytes go to `target` + ".part". When all are there and the hash fits, the file gets its name in one step. A later
    call goes on where an earlier one stopped, if the server can (HTTP Range). Processes that want the same file wait
    for one another.

    Where nobody published a hash, the size must be the one expected or else the one that the server announces, and the
    hash of what came is recorded in `target` + ".sha256": from then on the file must have that.

    Args:
        urls: addresses of the same content, tried in order.
        known: "sha256:…", "md5:…" or "git-blob:…", the hash that content must have; None if it is not known.
        size: in bytes, for a content whose hash is not known.
        allowed: False never goes to the web; a missing or damaged file is an error then.

    Raises:
        DownloadError: no address has it, the network fails, the content is another, or the disk is full.
    """
    if _is_intact(target, known, size):
        return target
    if not allowed:
        state = "damaged (its hash differs)" if target.exists() else "not there"
        raise DownloadError(f"{target} is {state}, and downloading is off; allow it, or put the file there")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if _is_intact(target, known, size):  # another process was first
                return target
            problems = []
            for url in urls:
                problem = _fetch_one(url, part, known, size)
                if problem is None:
                    if known is None:
                        _record(target).write_text(f"{_digest(part, hashlib.sha256())}  {target.name}\n")
                    part.replace(target)
                    return target
                problems.append(problem)
    except OSError as error:
        raise DownloadError(
            f"{error.filename or part}: cannot be written ({error.strerror or error}); make room, or choose "
            "another folder (OTSR_CACHE for weights, --out for data sets), then run again"
        ) from None
    raise DownloadError(
        f"could not be fetched: {'; '.join(problems)}. Run again to go on where it stopped, or fetch {urls[0]} with a "
        f"browser and save it as {target}"
    )


def matches(path: Path, known: str) -> bool:
    """Whether the content has the hash "sha256:…", "md5:…" or "git-blob:…" (SHA-1 of b"blob SIZE\\0" + content).

    The first digits are enough, where no more are published.
    """
    kind, _, expected = known.partition(":")
    if kind == "sha256":
        digest = hashlib.sha256()
    elif kind == "md5":  # what the authors of some data sets published
        digest = hashlib.md5(usedforsecurity=False)
    elif kind == "git-blob":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        raise ValueError(f"hash {known!r}, expected sha256:…, md5:… or git-blob:…")
    return _digest(path, digest).startswith(expected)


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _record(target: Path) -> Path:
    """Where the hash is kept of a file whose hash nobody published, as sha256sum writes it."""
    return target.with_name(target.name + ".sha256")


def _is_intact(target: Path, known: str | None, size: int | None) -> bool:
    """Whether the file is there and has the hash known, recorded, or (put there by hand) the size expected."""
    if not target.is_file():
        return False
    if known is not None:
        return matches(target, known)
    if _record(target).is_file():
        return matches(target, f"sha256:{_record(target).read_text().split()[0]}")
    return size in (None, target.stat().st_size)


def _fetch_one(url: str, part: Path, known: str | None, size: int | None) -> str | None:
    """Fill `part` from one address; None when all is there and its hash fits, else what went wrong."""
    host = urlsplit(url).netloc
    problem = ""
    failures = most = 0
    while failures < _TRIES:
        resumed = part.stat().st_size if part.exists() else 0
        try:
            announced = _receive(url, part, resumed)
        except requests.HTTPError as error:
            return f"{host} says: {error}"
        except (requests.ConnectionError, requests.Timeout) as error:
            return f"{host} cannot be reached ({_reason(error)}; is this machine online?)"
        except _Interrupted as error:
            problem = f"{host} ended the connection early, after {error.received} bytes"
            failures = 0 if error.received > most else failures + 1
            most = max(most, error.received)
            continue
        except requests.RequestException as error:
            return f"{host}: {_reason(error)}"
        problem = _fault(part, known, size, announced)
        if not problem:
            return None
        with part.open("rb") as file:
            head = file.read(40)
        part.unlink()  # never go on from content that is wrong
        if not resumed:
            return f"what {host} sends is corrupted or another file ({problem}, it begins with {head!r})"
    return problem


def _fault(part: Path, known: str | None, size: int | None, announced: int | None) -> str:
    """What is wrong with a file that came to its end; empty if nothing is."""
    if known is not None:
        return "" if matches(part, known) else "hash differs"
    expected = size or announced
    if expected is None:
        return "neither its hash nor its size is known, so nobody can tell whether it is whole"
    found = part.stat().st_size
    return "" if found == expected else f"{found} bytes, expected {expected}"


def _receive(url: str, part: Path, resumed: int) -> int | None:
    """Append to `part` from byte `resumed` on, or write it anew where the server does not do parts.

    Returns:
        Bytes of the whole, if the server says so.
    """
    headers = {**_HEADERS, "Range": f"bytes={resumed}-"} if resumed else _HEADERS
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == 416 and resumed:  # nothing after it: the file is complete, or another
            return _total(response)
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
        return resumed + left if left else None


def _total(response: requests.Response) -> int | None:
    """N of the header "Content-Range: bytes */N"."""
    number = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(number) if number.isdigit() else None


def _reason(error: Exception) -> str:
    """The innermost cause, in a few words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause  # type: ignore[assignment]
    return (str(error) or type(error).__name__).splitlines()[0]
