"""Training data: the same samples however they are made, LR that fits HR, and bad data named at the start."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from otsr.degradation import Degradation, NoisePool, kernels
from otsr.degradation.noise import DegradationError
from otsr.evaluation import scenes
from otsr.images import read
from otsr.training import batches as batches_room
from otsr.training import schema, sources
from otsr.training.batches import Batch, TrainingBatches
from otsr.training.sources import Photos, pack
from otsr.training.store import DataError
from otsr.training.synthesis import Synthesis, load_degradation
from otsr.training.validation import Validation

FORKS = "fork" in multiprocessing.get_all_start_methods()


def paint(folder: Path, sizes: dict[str, tuple[int, int]], seed: int = 0) -> Path:
    """Photos of random pixels, name: (height, width), as PNG in a folder."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (height, width) in sizes.items():
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
            folder / f"{name}.png"
        )
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return paint(tmp_path / "hr", {"a": (40, 50), "b": (33, 90), "c": (64, 64), "d": (35, 47), "e": (80, 32)})


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A degradation file with everything that is drawn at random: kernels, noise, JPEG."""
    draw = torch.Generator().manual_seed(0)
    pool = NoisePool(
        torch.randint(100, 140, (6, 3, 16, 16), generator=draw, dtype=torch.uint8), ["p"] * 6, [""] * 6
    )
    blurs = [kernels.gaussian(10, 2, 1, 30), kernels.gaussian(8, 1, 3, 70)]
    path = tmp_path_factory.mktemp("camera") / "camera.safetensors"
    Degradation(4, blurs, pool, (60, 95)).save(path)
    return path


def recipe(hr: object, **changes: Any) -> schema.Data:
    settings = {"hr": str(hr), "crop": 16, "batch": 12, "workers": 0, **changes}
    return schema.Data(
        **{key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    )


def same(first: Batch, second: Batch) -> bool:
    """Equal to the last bit."""
    return all(
        a is b or (a is not None and b is not None and torch.equal(a, b))
        for a, b in zip(first, second, strict=True)
    )


def joined(parts: list[Batch]) -> Batch:
    return Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))  # type: ignore[arg-type]


# --- a sample is a function of seed, step and place


def test_any_number_of_processes_makes_the_same_global_batch(folder: Path, camera: Path) -> None:
    settings = recipe(folder, degradation=camera)
    whole = TrainingBatches(settings, 4, 10, reals=True)
    for step in (0, 1, 99):
        expected = whole.batch(step)
        assert expected.lr.shape == (12, 3, 4, 4) and expected.hr.shape == (12, 3, 16, 16)
        for processes in (2, 3, 4, 12):
            parts = [
                TrainingBatches(settings, 4, 10, p, processes, reals=True).batch(step)
                for p in range(processes)
            ]
            assert same(joined(parts), expected)


def test_any_number_of_threads_makes_the_same_batch(folder: Path, camera: Path) -> None:
    batches = TrainingBatches(recipe(folder, degradation=camera), 4, 10)
    before = torch.get_num_threads()
    made = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        made.append(batches.batch(3))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert same(made[0], made[1]) and same(made[0], made[2])


def start_by(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let data processes be started in this way."""
    chosen = multiprocessing.get_context(method)
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", chosen)


no_fork = pytest.mark.skipif(not FORKS, reason="this system does not fork")
WAYS = [pytest.param("fork", 1, marks=no_fork), pytest.param("fork", 3, marks=no_fork), ("spawn", 1)]


@pytest.mark.parametrize(("method", "workers"), WAYS)
@pytest.mark.parametrize("stored", [False, True])
def test_workers_make_the_same_batches_from_any_step_on(
    folder: Path, camera: Path, method: str, workers: int, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_by(method, monkeypatch)
    place = folder
    if stored:
        place = pack([folder], folder.parent / "hr.lmdb", progress=False).path
    alone = TrainingBatches(recipe(folder, degradation=camera), 4, 10, reals=True)
    settings = recipe(place, degradation=camera, workers=workers)
    batches = TrainingBatches(settings, 4, 10, reals=True)
    kept = []
    with closing(batches.stream(7)) as stream:
        for expected in range(7, 14):
            step, batch = next(stream)
            assert step == expected and same(batch, alone.batch(step))
            kept.append(batch)
    assert same(kept[0], alone.batch(7))  # not a window on memory that is used again


def test_seeds_steps_and_places_differ(folder: Path) -> None:
    first = TrainingBatches(recipe(folder), 4, 10).batch(0)
    assert not same(first, TrainingBatches(recipe(folder), 4, 11).batch(0))
    assert not same(first, TrainingBatches(recipe(folder), 4, 10).batch(1))
    assert len({tuple(hr.flatten().tolist()) for hr in first.hr}) == 12


def test_each_photo_is_shown_once_before_any_is_shown_again(folder: Path) -> None:
    batches = TrainingBatches(recipe(folder, batch=3), 4, 10)
    shown = [origin.split(" at ")[0] for step in range(50) for origin in batches.origins(step)]
    orders = [tuple(shown[start : start + 5]) for start in range(0, 150, 5)]
    assert all(len(set(order)) == 5 for order in orders)
    assert len(set(orders)) > 15


def test_crops_reach_every_corner_and_turn_all_ways(tmp_path: Path) -> None:
    """One photo whose pixels say where they are: crops are read back from them."""
    places = np.zeros((20, 22, 3), np.uint8)
    places[..., 0], places[..., 1] = np.arange(20)[:, None], np.arange(22)[None]
    (tmp_path / "hr").mkdir()
    Image.fromarray(places).save(tmp_path / "hr" / "a.png")
    batches = TrainingBatches(recipe(tmp_path / "hr", crop=16, batch=40), 4, 1)
    seen, turns = Counter(), Counter()
    for step in range(20):
        crops = (batches.batch(step).to().hr * 255).round().long()
        for crop, origin in zip(crops, batches.origins(step), strict=True):
            top, left = int(crop[0].min()), int(crop[1].min())
            seen[top, left] += 1
            assert origin == f"{tmp_path / 'hr' / 'a.png'} at column {left}, row {top}"
            corners = [tuple((crop[:2, y, x] - crop[:2].amin((1, 2))).tolist()) for y, x in ((0, 0), (0, -1))]
            turns[tuple(corners)] += 1
    assert set(seen) == {(top, left) for top in range(5) for left in range(7)}
    assert len(turns) == 8 and min(turns.values()) > 50
    plain = TrainingBatches(recipe(tmp_path / "hr", crop=16, augment=False), 4, 1).batch(0).hr
    assert (plain[:, 0].diff(dim=1) > 0).all() and (plain[:, 1].diff(dim=2) > 0).all()


def test_independent_reals_are_other_crops_and_change_nothing_else(folder: Path) -> None:
    with_reals = TrainingBatches(recipe(folder, batch=60), 4, 10, reals=True)
    without = TrainingBatches(recipe(folder, batch=60), 4, 10)
    batch, plain = with_reals.batch(2), without.batch(2)
    assert plain.reals is None and torch.equal(plain.hr, batch.hr) and torch.equal(plain.lr, batch.lr)
    assert batch.reals is not None
    crops = {tuple(crop.flatten().tolist()) for crop in batch.hr}
    assert sum(tuple(crop.flatten().tolist()) in crops for crop in batch.reals) < 5


# --- LR fits HR


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("blur", ["bicubic", "gaussian", "small", "one-sided"])
def test_an_lr_crop_is_that_part_of_the_degraded_photo_borders_included(scale: int, blur: str) -> None:
    one_sided = torch.zeros(3 * scale, 3 * scale)
    one_sided[0, 1] = 1
    blurs = {
        "bicubic": None, "gaussian": kernels.gaussian(5 * scale, 3, 8, 20), "small": kernels.gaussian(scale, 0.01),
        "one-sided": one_sided,
    }  # fmt: skip
    degradation = Degradation(scale, blurs[blur])
    photo = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    whole = degradation.apply(torch.from_numpy(photo).permute(2, 0, 1).float() / 255)
    made = Synthesis(degradation)

    def crop(top: int, left: int, height: int, width: int) -> np.ndarray:
        assert top >= 0 <= left and top + height <= 64 and left + width <= 80
        return photo[top : top + height, left : left + width]

    for top, left in ((0, 0), (48, 64), (0, 64), (24, 32), (48, 4), (4, 8)):
        region = made.region(crop, (64, 80), top, left, 16)
        lr = made.degrade(torch.from_numpy(region.transpose(2, 0, 1).copy())[None], [torch.Generator()])[0]
        expected = whole[:, top // scale : (top + 16) // scale, left // scale : (left + 16) // scale]
        assert torch.allclose(lr, expected, atol=2e-6)


def test_lr_shows_the_scene_of_hr_however_it_is_turned() -> None:
    batches = TrainingBatches(recipe("photos/train", batch=24, crop=64), 4, 3)
    batch = batches.batch(0).to()
    again = Degradation(4).apply(batch.hr)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert torch.allclose(batch.lr[inner], again[inner], atol=2e-6)
    assert not torch.allclose(batch.lr, again, atol=2e-3)  # at the borders it saw more than the crop


def test_kernels_noise_and_qualities_are_drawn_for_each_sample(tmp_path: Path, camera: Path) -> None:
    (tmp_path / "hr").mkdir()
    Image.new("RGB", (16, 16), (90, 120, 60)).save(tmp_path / "hr" / "flat.png")
    lr = TrainingBatches(recipe(tmp_path / "hr", degradation=camera), 4, 1).batch(0).lr
    assert len({tuple(sample.flatten().tolist()) for sample in lr}) == 12
    assert lr.min() >= 0 and lr.max() <= 1
    assert (lr * 255 - (lr * 255).round()).abs().max() < 1e-4  # JPEG came last


def blocks(photo: Tensor) -> Tensor:
    return photo.repeat_interleave(4, -1).repeat_interleave(4, -2)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """HR photos of 4×4 blocks, and LR photos of a pixel a block; the second has pixels that are no whole block."""
    draw = np.random.default_rng(1)
    for name, (height, width), extra in (("a", (9, 12), 0), ("b", (8, 15), 3)):
        small = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        large = np.pad(small.repeat(4, 0).repeat(4, 1), ((0, extra), (0, extra), (0, 0)))
        for place, pixels in (("lr", small), ("hr", large)):
            (tmp_path / place).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / place / f"{name}.png")
    return tmp_path / "hr", tmp_path / "lr"


@pytest.mark.parametrize("stored", [False, True])
def test_pairs_from_two_places_stay_on_each_other(pairs: tuple[Path, Path], stored: bool) -> None:
    hr, lr = pairs
    if stored:
        hr, lr = (pack([place], place.with_suffix(".lmdb"), progress=False).path for place in pairs)
    batches = TrainingBatches(recipe(hr, lr=lr), 4, 5)
    for step in range(5):
        batch = batches.batch(step).to()
        assert batch.lr.is_contiguous() and batch.hr.is_contiguous()
        assert torch.equal(batch.hr, blocks(batch.lr))
    assert len({tuple(sample.flatten().tolist()) for sample in batch.lr}) > 8


def test_lr_names_may_end_in_the_scale(pairs: tuple[Path, Path]) -> None:
    hr, lr = pairs
    expected = TrainingBatches(recipe(hr, lr=lr), 4, 5).batch(0)
    for path in list(lr.iterdir()):
        path.rename(path.with_stem(f"{path.stem}x4"))
    assert same(TrainingBatches(recipe(hr, lr=lr), 4, 5).batch(0), expected)


def test_pairs_that_do_not_match_are_named(pairs: tuple[Path, Path]) -> None:
    hr, lr = pairs
    with pytest.raises(
        DataError, match=r"2 of 2 pairs do not differ by the scale 2: .*a\.png \(48×36\) and its LR"
    ):
        TrainingBatches(recipe(hr, lr=lr), 2, 5)
    (lr / "b.png").rename(lr / "c.png")
    with pytest.raises(
        DataError, match=r"1 of 2 HR photos have no LR photo of their name: .*b\.png; LR names look like a, c"
    ):
        TrainingBatches(recipe(hr, lr=lr), 4, 5)
    twice = schema.Data(hr=(str(hr), str(hr)), lr=str(lr), crop=16, batch=1)
    with pytest.raises(DataError, match="matched by name, but a, b occur twice"):
        TrainingBatches(twice, 4, 5)


# --- places


def test_a_folder_and_its_store_give_the_same_batches_and_fingerprint(folder: Path) -> None:
    for cleanup in (1.0, 1.9):
        packed = pack([folder], folder.parent / f"{cleanup}.lmdb", cleanup, progress=False).path
        of_folder = TrainingBatches(recipe(folder, cleanup=cleanup), 4, 10)
        of_store = TrainingBatches(recipe(packed, cleanup=cleanup), 4, 10)
        assert same(of_folder.batch(4), of_store.batch(4))
        assert of_folder.fingerprint == of_store.fingerprint


def test_the_fingerprint_changes_with_names_contents_and_clean_up(folder: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        return TrainingBatches(recipe(folder, **changes), 4, 10).fingerprint

    prints = [fingerprint(), fingerprint(cleanup=1.5)]
    (folder / "a.png").rename(folder / "aa.png")
    prints.append(fingerprint())
    paint(folder, {"b": (33, 90)}, seed=8)
    prints.append(fingerprint())
    assert len(set(prints)) == 4 and all(len(value) == 64 for value in prints)
    assert fingerprint(crop=32, batch=1) == prints[-1]


def test_several_places_are_one_list(folder: Path, tmp_path: Path) -> None:
    other = pack([paint(tmp_path / "more", {"z": (40, 40)})], tmp_path / "more.lmdb", progress=False).path
    photos = Photos([str(folder), str(other), "photos/val"])
    assert photos.names[:6] == ["a", "b", "c", "d", "e", "z"] and len(photos) == 12
    assert photos.place(5) == f"{other}: z" and photos.place(0) == str(folder / "a.png")
    assert all(photos.read(i).shape == (*photos.shapes[i], 3) for i in range(6))


def test_photos_beyond_the_memory_are_decoded_anew_and_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = TrainingBatches(recipe(folder), 4, 10).batch(0)
    monkeypatch.setattr(sources, "MEMORY", 20_000)
    with pytest.warns(
        UserWarning, match=r"decoded photos take 0\.00 GB, but 0\.00 GB are kept.*otsr pack FOLDER"
    ):
        some = TrainingBatches(recipe(folder), 4, 10)
        shared = Photos([str(folder)], processes=4)
    assert 4 * shared._room == sources.MEMORY  # all processes together keep no more
    assert same(some.batch(0), expected)
    assert 0 < sum(pixels.nbytes for pixels in some.hr._kept.values()) <= 20_000
    monkeypatch.undo()
    enough = TrainingBatches(recipe(folder), 4, 10)
    assert same(enough.batch(0), expected)
    monkeypatch.setattr(sources, "clean_photo", lambda *_: pytest.fail("decoded again"))
    assert same(enough.batch(0), expected)


# --- bad data is named at the start


def test_photos_smaller_than_the_crop_are_all_named(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"3 of 5 photos are smaller than the crop of 36: .*b\.png \(90×33\).*d.*e"
    ):
        TrainingBatches(recipe(folder, crop=36), 4, 10)
    with pytest.raises(DataError, match=r"after the clean-up by 2: .*data\.crop lower"):
        TrainingBatches(recipe(folder, crop=20, cleanup=2.0), 4, 10)
    paint(folder, {f"s{i}": (10, 10) for i in range(9)})
    with pytest.raises(DataError, match=r"9 of 14.*s4\.png.*and 4 more;"):
        TrainingBatches(recipe(folder), 4, 10)


def test_photos_that_cannot_be_read_are_all_named(folder: Path) -> None:
    (folder / "x.jpg").write_text("no picture")
    (folder / "y.png").touch()
    with pytest.raises(DataError, match=r"x\.jpg: not a picture.*y\.png: .*it is empty.*repair or remove"):
        TrainingBatches(recipe(folder), 4, 10)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gone", "gone: no such folder; expected a folder of pictures, a .lmdb store, or photos/train"),
        ("empty", "empty: no pictures in this folder"),
        ("empty/file", "not a folder; expected a folder"),
        ("photos/train", "also the course's name for its own photos"),
    ],
)
def test_places_that_are_none_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "train").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    if place == "empty/file":
        (tmp_path / "empty" / "file").touch()
    with pytest.raises(DataError, match=message):
        TrainingBatches(recipe(place), 4, 10)


def test_a_store_of_another_clean_up_is_refused(folder: Path) -> None:
    packed = pack([folder], folder.parent / "hr.lmdb", 1.5, progress=False).path
    with pytest.raises(
        DataError, match=r"packed with a clean-up of 1\.5, but the recipe says 1; set cleanup to 1\.5"
    ):
        TrainingBatches(recipe(packed), 4, 10)


def test_a_batch_that_processes_cannot_share_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.batch is 12, which 5 processes cannot share"):
        TrainingBatches(recipe(folder), 4, 10, 0, 5)


def test_degradations_for_something_else_are_refused(folder: Path, camera: Path, tmp_path: Path) -> None:
    with pytest.raises(DegradationError, match=r"camera\.safetensors: made for ×4, not ×2"):
        TrainingBatches(recipe(folder, degradation=camera), 2, 10)
    Degradation(4, cleanup=2).save(tmp_path / "d.safetensors")
    with pytest.raises(DataError, match=r"needs data\.cleanup: 2"):
        TrainingBatches(recipe(folder, degradation=tmp_path / "d.safetensors"), 4, 10)
    assert load_degradation(str(tmp_path / "d.safetensors"), 4, 2.0).cleanup == 1
    with pytest.raises(DegradationError, match="no such file"):
        TrainingBatches(recipe(folder, degradation=tmp_path / "gone.safetensors"), 4, 10)


def test_processes_that_begin_together_estimate_the_phone_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[int] = []

    def estimate(photos: list[Path], scale: int, **_: object) -> object:
        estimated.append(scale)
        time.sleep(0.2)
        return type(
            "Camera", (), {"degradation": Degradation(scale, kernels.gaussian(8, 1 + len(estimated)))}
        )

    monkeypatch.setattr(scenes, "estimate_camera", estimate)
    with pytest.warns(UserWarning, match="no noise"), ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: load_degradation("phone", 4, folder=tmp_path), range(3)))
    assert estimated == [4]
    assert len({str(one.kernels) for one in made}) == 1


def test_the_phones_degradation_is_estimated_once_and_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[list[Path]] = []
    kernel = kernels.gaussian(8, 2)

    def estimate(photos: list[Path], scale: int, **_: object) -> object:
        estimated.append(photos)
        return type("Camera", (), {"degradation": Degradation(scale, kernel)})

    monkeypatch.setattr(scenes, "estimate_camera", estimate)
    run = tmp_path / "run"
    first = TrainingBatches(recipe(folder, degradation="phone"), 4, 10, folder=run).batch(0)
    assert len(estimated) == 1 and len(estimated[0]) == 11
    assert same(first, TrainingBatches(recipe(folder, degradation="phone"), 4, 10, folder=run).batch(0))
    assert len(estimated) == 1
    assert same(first, TrainingBatches(recipe(folder, degradation="phone"), 4, 10).batch(0))
    (run / "phone-x4.safetensors").write_bytes(b"cut")
    assert same(first, TrainingBatches(recipe(folder, degradation="phone"), 4, 10, folder=run).batch(0))
    assert len(estimated) == 3


# --- workers that fail


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children inherit what the test changes."""
    if not FORKS:
        pytest.skip("this system does not fork")
    start_by("fork", monkeypatch)


def test_an_error_in_a_worker_carries_the_files_name(folder: Path) -> None:
    batches = TrainingBatches(recipe(folder, workers=1), 4, 10)
    (folder / "c.png").write_bytes((folder / "c.png").read_bytes()[:500])
    with (
        pytest.raises(DataError, match=r"step 0: .*c\.png: damaged or truncated"),
        closing(batches.stream()) as stream,
    ):
        next(stream)
    paint(folder, {"c": (70, 70)})
    with pytest.raises(DataError, match=r"c\.png: 70×70 pixels, but 64×64 at the start"):
        batches.batch(0)
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("forks")
def test_a_mistake_in_the_program_shows_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_room, "_turned", lambda *_: {}["no such key"])
    batches = TrainingBatches(recipe(folder, workers=1), 4, 10)
    with pytest.raises(KeyError, match=r"(?s)Traceback.*no such key"), closing(batches.stream()) as stream:
        next(stream)


@pytest.mark.usefixtures("forks")
def test_a_worker_that_ends_by_itself_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingBatches, "batch", lambda *_: os._exit(3))
    batches = TrainingBatches(recipe(folder, workers=1), 4, 10)
    with pytest.raises(DataError, match=r"(?s)worker.*exit.*--resume"), closing(batches.stream()) as stream:
        next(stream)


@pytest.mark.usefixtures("forks")
def test_closing_the_stream_ends_its_processes_even_beside_another(folder: Path) -> None:
    others = set(multiprocessing.active_children())  # of a test before this one, not collected yet

    def ours() -> int:
        return len(set(multiprocessing.active_children()) - others)

    batches = TrainingBatches(recipe(folder, workers=2), 4, 10)
    first, second = batches.stream(), batches.stream(3)
    next(first), next(second)
    assert ours() == 4
    first.close()
    assert ours() == 2
    assert next(second)[0] == 4
    second.close()
    assert not ours()


PROGRAM = """
import multiprocessing, signal, sys, time
from otsr.training import schema
from otsr.training.batches import TrainingBatches
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
multiprocessing.set_start_method("fork")
settings = schema.Data(hr=sys.argv[1], crop=16, batch=12, workers=2)
for step, batch in TrainingBatches(settings, 4, 10).stream():
    if step == 3:
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    if step > 3:
        time.sleep(0.01)
"""


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # nobody may be there to collect an orphan


@pytest.mark.skipif(not FORKS or not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_the_training_ends_so_do_its_workers(folder: Path, how: signal.Signals) -> None:
    training = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert training.stdout is not None and training.stderr is not None
    workers = [int(pid) for pid in training.stdout.readline().split()]
    assert len(workers) == 2
    if how is signal.SIGINT:
        os.killpg(training.pid, how)  # as Ctrl-C does: all processes of the terminal
    else:
        os.kill(training.pid, how)
    _, complaints = training.communicate(timeout=60)
    limit = time.monotonic() + 60
    while not all(map(gone, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert all(map(gone, workers))
    assert complaints.count("Traceback") == (1 if how is signal.SIGINT else 0)


# --- validation


def test_validation_is_the_same_every_time_and_whatever_the_recipes_seed(camera: Path) -> None:
    settings = recipe("photos/train", degradation=camera)
    first = Validation(schema.Validation(images=2), settings, 4)
    second = Validation(schema.Validation(), settings, 4)
    assert len(first) == 2 and len(second) == 6
    degradation = Degradation.load(camera)
    for index, (one, two) in enumerate(zip(first, second, strict=False)):
        hr, lr = degradation.pair(read(second.hr.place(index)), seed=index)
        assert one.name == two.name == Path(second.hr.place(index)).stem
        assert torch.equal(one.lr, lr) and torch.equal(two.lr, lr)
        assert torch.equal(one.hr, hr) and torch.equal(two.hr, hr)
    assert torch.equal(first[0].lr, next(iter(first)).lr)
    assert len(Validation(schema.Validation(images=0), settings, 4)) == 0


def test_validation_photos_are_cleaned_up_and_cropped_to_the_scale(folder: Path) -> None:
    validation = Validation(schema.Validation(hr=str(folder), cleanup=1.5), recipe("photos/train"), 4)
    expected = Photos([str(folder)], 1.5)
    for index, pair in enumerate(validation):
        pixels = torch.from_numpy(expected.read(index)).permute(2, 0, 1).float() / 255
        assert torch.equal(pair.hr, pixels) and pair.hr.shape[-2:] == tuple(
            4 * side for side in pair.lr.shape[-2:]
        )


def test_validation_takes_pairs(pairs: tuple[Path, Path]) -> None:
    hr, lr = map(str, pairs)
    validation = Validation(schema.Validation(hr=hr, lr=lr), recipe("photos/train"), 4)
    for pair in validation:
        assert torch.equal(pair.hr, blocks(pair.lr)) and pair.hr.is_contiguous()
    with pytest.raises(DataError, match="do not differ by the scale 2"):
        Validation(schema.Validation(hr=hr, lr=lr), recipe("photos/train"), 2)
