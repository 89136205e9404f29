"""Degradation: each step against the step done by hand, seeds, files, and what is refused."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from otsr.datasets import phone_crops
from otsr.degradation import Degradation, DegradationError, NoisePool, collect_noise, kernels
from otsr.images import read, resize, to_pil


def smooth(*shape: int) -> Tensor:
    """Images with something to see and nothing to alias, in [0.1, 0.9]."""
    small = torch.rand(*shape[:-2], 6, 6, generator=torch.Generator().manual_seed(0))
    return (resize(small, 16).clamp(0, 1) * 0.8 + 0.1)[..., : shape[-2], : shape[-1]]


@pytest.fixture(scope="module")
def pool() -> NoisePool:
    return collect_noise(phone_crops("mixed", 1792), tags=["ISO 1792"])


@pytest.fixture(scope="module")
def full(pool: NoisePool) -> Degradation:
    """All steps at once."""
    blurs = [kernels.gaussian(12, 3, 1, 30), kernels.motion(20, 9, 70), kernels.bicubic(4)]
    return Degradation(4, blurs, pool, jpeg=(50, 90), cleanup=2)


@pytest.mark.parametrize(("scale", "cleanup"), [(1, 1), (3, 1), (4, 2), (4, 1.5)])
def test_the_photo_is_cleaned_cropped_and_shrunk_by_matlabs_bicubic(scale: int, cleanup: float) -> None:
    hr = smooth(2, 3, 90, 95).round()
    clean, lr = Degradation(scale, cleanup=cleanup).pair(hr, seed=0)
    shrunk = resize(hr, 1 / cleanup).clamp(0, 1)
    height, width = (side // scale * scale for side in shrunk.shape[-2:])
    assert torch.equal(clean, shrunk[..., :height, :width])
    expected = resize(clean, 1 / scale)
    assert scale == 1 or expected.min() < -0.001
    assert torch.equal(lr, expected.clamp(0, 1))


def test_jpeg_is_pillows_at_a_quality_from_the_range() -> None:
    hr = smooth(3, 64, 64)
    by_hand = []
    for quality in (30, 31, 32):
        file = io.BytesIO()
        to_pil(Degradation(2).apply(hr)).save(file, "JPEG", quality=quality, subsampling=2)
        by_hand.append(read(Image.open(file)))
    made = [Degradation(2, jpeg=(30, 32)).apply(hr, seed) for seed in range(20)]
    found = [[torch.equal(lr, expected) for expected in by_hand] for lr in made]
    assert all(map(any, found)) and all(map(any, zip(*found, strict=True)))


def test_the_same_seed_gives_the_same_images_and_another_seed_others(full: Degradation) -> None:
    hr = smooth(4, 3, 96, 96)
    state = torch.get_rng_state()
    first, again, other = (full.apply(hr, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(full.apply(hr), full.apply(hr))
    assert torch.equal(state, torch.get_rng_state())  # the global generator is left alone
    for one, batch in zip(full.pair(hr[0], seed=3), full.pair(hr[:1], seed=3), strict=True):
        assert torch.equal(one, batch[0])


def test_every_sample_of_a_batch_gets_its_own_kernel_noise_and_quality(pool: NoisePool) -> None:
    hr = smooth(1, 3, 96, 96).expand(12, -1, -1, -1)
    blurs = [kernels.gaussian(12, variance) for variance in (0.5, 2, 6)]
    for least, parts in ((3, {"kernels": blurs}), (12, {"noise": pool}), (6, {"jpeg": (20, 90)})):
        lr = Degradation(4, **parts).apply(hr, seed=0)
        assert len({image.numpy().tobytes() for image in lr}) >= least
        assert 0 <= lr.min() <= lr.max() <= 1


def test_smaller_kernels_beside_larger_ones_keep_their_place() -> None:
    both = [kernels.gaussian(6, 1), kernels.gaussian(18, 6)]
    hr = smooth(3, 96, 96)
    made = [Degradation(2, both).apply(hr, seed)[:, 8:-8, 8:-8] for seed in range(10)]
    for kernel in both:
        expected = kernels.downsample(hr, kernel, 2)[:, 8:-8, 8:-8]
        assert any(torch.allclose(lr, expected, atol=1e-6) for lr in made)


def test_a_degradation_read_back_gives_bitwise_the_same_images(full: Degradation, tmp_path: Path) -> None:
    hr = smooth(3, 3, 96, 96)
    for degradation in (full, Degradation(3, kernels.gaussian(7, 2)), Degradation(4, jpeg=(40, 40))):
        degradation.save(tmp_path / "a.safetensors")
        back = Degradation.load(tmp_path / "a.safetensors")
        assert torch.equal(back.apply(hr, seed=5), degradation.apply(hr, seed=5))
        assert repr(back) == repr(degradation)
        if pool := degradation.noise:
            assert (back.noise.tags, back.noise.sources) == (pool.tags, pool.sources)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, r"holds kernels; expected an otsr degradation file"),
        ({"format": "another thing"}, "holds another thing; expected an otsr degradation file"),
        ({"version": "2", "notes": "{}"}, "version 2, this program reads version 1"),
        ({}, "this otsr degradation file is damaged"),
        ({"notes": "{"}, "damaged"),
        ({"notes": '{"scale": 0, "jpeg": null, "cleanup": 1, "noise": null}'}, "damaged .*scale is 0"),
        ({"notes": "[1]"}, "damaged"),
        ({"notes": "[" * 100_000}, "damaged"),
        ({"notes": '{"scale": 2, "noise": {"sources": []}}'}, "damaged"),
    ],
)
def test_files_that_hold_no_degradation_are_refused_with_what_they_hold(
    metadata: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    told = None if metadata is None else {"format": "otsr degradation", "version": "1", **metadata}
    save_file({"kernels": torch.zeros(1, 2, 2)}, tmp_path / "file", told)
    with pytest.raises(DegradationError, match=f"file: .*{message}"):
        Degradation.load(tmp_path / "file")


def test_files_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    Degradation(2).save(tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-100])
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    for name, message in (
        ("picture", "picture: not an intact safetensors file"),
        ("cut", "cut: not an intact safetensors file"),
        ("picure", "picure: no such file; .* did you mean picture"),
    ):
        with pytest.raises(DegradationError, match=message):
            Degradation.load(tmp_path / name)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "camera.safetensors"
    Degradation(2).save(path)
    before = path.read_bytes()

    def fail(_: object, file: Path, *__: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("otsr.degradation.pipeline.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        Degradation(4).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Degradation(0), "scale is 0"),
        (lambda: Degradation(2.0), "scale is 2.0"),
        (lambda: Degradation(2, torch.ones(2, 3)), r"kernels\[0\] is \(2, 3\)"),
        (lambda: Degradation(2, kernels.gaussian(13, 2)), r"kernels\[0\] has 13 .*\.centre\(kernel, 2\)"),
        (lambda: Degradation(2, [kernels.gaussian(12, 2), torch.ones(4, 4)]), r"kernels\[1\] sums to 16"),
        (lambda: Degradation(2, torch.full((2, 2), torch.nan)), r"kernels\[0\] sums to nan"),
        (lambda: Degradation(2, []), "kernels is empty"),
        (lambda: Degradation(2, jpeg=(90, 50)), r"jpeg is \(90, 50\)"),
        (lambda: Degradation(2, jpeg=(0, 50)), r"jpeg is \(0, 50\)"),
        (lambda: Degradation(2, jpeg=(80.5, 90)), "jpeg is .80.5, 90"),
        (lambda: Degradation(2, cleanup=0.5), "cleanup is 0.5"),
        (lambda: Degradation(2, cleanup=float("nan")), "cleanup is nan"),
        (lambda: Degradation(2).apply(np.zeros((3, 64, 64))), "hr is ndarray"),
        (lambda: Degradation(2).apply(torch.rand(3, 64, 64) * 255), r"values from .*expected \[0, 1\]"),
        (
            lambda: Degradation(4, kernels.gaussian(12, 2), cleanup=2).apply(torch.rand(3, 3, 64)),
            r"hr is 64×3, after clean-up 32×2; scale and kernels need at least 12×12",
        ),
    ],
)
def test_settings_and_images_are_checked_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
