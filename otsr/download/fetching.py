"""Fetch a file from the web: resumed where it stopped, checked by its hash, never half there under its name."""

import errno
import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

_TRIES = 3  # in a row that bring nothing new
_CHUNK = 1 << 14  # bytes; what a broken connection can cost at most
_TIMEOUT = (15, 60)  # seconds to connect, and between two pieces
_ACCEPTED = "application/vnd.github.raw+json, application/octet-stream, */*"


class DownloadError(OSError):
    """A file that cannot be had, or an archive that is damaged or unsafe: why, and what to do."""


def cache_dir() -> Path:
    """Where downloads are kept: $OTSR_CACHE if set, else the system's cache folder."""
    chosen = os.environ.get("OTSR_CACHE")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("otsr"))


def fetch(urls: Sequence[str], target: Path, known: str | None) -> Path:
    """The file `target`, fetched from the first address that has it, unless it is there and intact.

    Bytes go to `target` + ".part". When all are there and the hash fits, the file gets its name in one step. A later
    call goes on where an earlier one stopped, if the server can (HTTP Range). Processes that want the same file
    wait for one another.

    Args:
        urls: addresses of the same content, tried in order.
        known: the hash that it must have, see `matches`. Where nobody published one, None: what comes must have the
            size that the server announces, and a file that is there is taken as it is.

    Raises:
        DownloadError: no address has it, the network fails, the content differs, or the disk is full.
    """

    def there() -> bool:
        return target.is_file() and (known is None or matches(target, known))

    if there():
        return target
    part = target.with_name(target.name + ".part")
    problems = []
    with alone(target.with_name(target.name + ".lock")):
        if there():  # another process was first
            return target
        for url in urls:
            problem = _fetch_one(url, part, known)
            if not problem:
                return part.replace(target)
            problems.append(f"{urlsplit(url).netloc} {problem}")
    kept = f". Run again to go on after {_size(part)} bytes" if _size(part) else ""
    by_hand = f"Or fetch {urls[0]} with a browser and save it as {target}"
    raise DownloadError(f"could not be fetched: {'; '.join(problems)}{kept}. {by_hand}")


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Make the folder of a lock file and work in it while other processes wait; a disk that refuses is explained."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            yield
    except DownloadError:
        raise
    except OSError as error:
        reason = f"{error.filename or lock.parent}: cannot be written ({error.strerror or error})"
        folders = "OTSR_CACHE for weights, --out for data sets"
        raise DownloadError(f"{reason}; make room, or choose another folder ({folders})") from None


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
        reason = f"{needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free"
        raise OSError(errno.ENOSPC, reason, str(folder))


def _fetch_one(url: str, part: Path, known: str | None) -> str:
    """Fill `part` from one address; empty when all is there and its hash fits, else what went wrong."""
    failures = most = 0
    while failures < _TRIES:
        before = _size(part)
        try:
            whole = _receive(url, part)
        except (requests.ConnectionError, requests.Timeout) as error:
            return f"cannot be reached ({_reason(error)}; is this machine online?)"
        except requests.RequestException as error:
            return f"says: {_reason(error)}"
        size = _size(part)
        if whole is not None and size < whole:  # what came is kept
            failures = 0 if size > most else failures + 1
            most = max(most, size)
        elif matches(part, known) if known else size == whole:
            return ""
        else:
            with part.open("rb") as file:
                head = file.read(40)
            part.unlink()  # never go on from content that is wrong
            if not before:
                problem = "its hash differs" if known else "its size differs, or is not told"
                return f"sends a corrupted or different file ({problem}; it begins with {head!r})"
    return f"closed the connection early, after {_size(part)} bytes"


def _receive(url: str, part: Path) -> float | None:
    """Append what is missing of `part`, or write it anew where the server does not do parts.

    Returns bytes of the whole, if the server says so, and ∞ where the connection breaks.
    """
    start = _size(part)
    headers = {"Accept": _ACCEPTED, "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        sent = response.headers.get("Content-Range", "")
        if response.status_code == 416 and start:  # it is complete, or a different file
            size = sent.rpartition("/")[2]
            return int(size) if size.isdigit() else None
        response.raise_for_status()
        if response.status_code != 206 or not sent.startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length", "")
        left = int(length) if length.isdigit() else 0
        require_room(part.parent, left)
        whole: float | None = start + left if left else None
        bar = tqdm(desc=part.stem, initial=start, total=whole, unit="B", unit_scale=True, delay=1)
        with part.open("ab") as file, bar:
            file.truncate(start)
            try:
                for piece in response.iter_content(_CHUNK):
                    bar.update(file.write(piece))
            except requests.RequestException:
                whole = math.inf
            os.fsync(file.fileno())
    return whole


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: BaseException) -> str:
    """The innermost cause, in a few words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return (str(error) or type(error).__name__).splitlines()[0]
