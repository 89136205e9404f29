"""Training data: the same samples however they are made, LR that fits HR, and bad data named at the start."""

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
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_training import paint
from torch import Tensor

from otsr.degradation import Degradation, NoisePool, kernels
from otsr.degradation.noise import DegradationError
from otsr.evaluation import scenes
from otsr.images import read
from otsr.training import schema, sources
from otsr.training.batches import Batch, TrainingBatches
from otsr.training.sources import Photos, pack
from otsr.training.store import DataError
from otsr.training.synthesis import Synthesis, load_degradation
from otsr.training.validation import Validation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sizes = {"a": (40, 50), "b": (33, 90), "c": (64, 64), "d": (35, 47), "e": (80, 32)}  # height, width
    for seed, (name, size) in enumerate(sizes.items()):
        paint(tmp_path / "photos" / f"{name}.png", *size, seed=seed)
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A degradation file with everything that is drawn at random: kernels, noise, JPEG."""
    draw = torch.Generator().manual_seed(0)
    patches = torch.randint(100, 140, (6, 3, 16, 16), generator=draw, dtype=torch.uint8)
    pool = NoisePool(patches, ["p"] * 6, [""] * 6)
    blurs = [kernels.gaussian(10, 2, 1, 30), kernels.gaussian(8, 1, 3, 70)]
    path = tmp_path_factory.mktemp("camera") / "camera.safetensors"
    Degradation(4, blurs, pool, (60, 95)).save(path)
    return path


def recipe(hr: object, **changes: Any) -> schema.Data:
    named = {key: str(value) if isinstance(value, Path) else value for key, value in changes.items()}
    place = hr if isinstance(hr, tuple) else str(hr)
    return schema.Data.model_validate({"hr": place, "crop": 16, "batch": 12, "workers": 0, **named})


def stored(folder: Path, cleanup: float = 1.0) -> Path:
    """The photos of a folder, packed."""
    return pack([folder], folder.with_suffix(f".{cleanup}.lmdb"), cleanup, progress=False).path


def same(first: Batch, second: Batch) -> bool:
    """Equal to the last bit."""
    pairs = zip(first, second, strict=True)
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


# --- a sample is a function of seed, step and place


def test_any_number_of_processes_and_threads_makes_the_same_global_batch(folder: Path, camera: Path) -> None:
    settings, before = recipe(folder, degradation=camera), torch.get_num_threads()
    whole = TrainingBatches(settings, 4, 10, reals=True).batch(7)
    assert whole.lr.shape == (12, 3, 4, 4) and whole.hr.shape == (12, 3, 16, 16)
    for count, threads in ((1, 1), (3, 2), (12, 5)):
        torch.set_num_threads(threads)
        parts = [TrainingBatches(settings, 4, 10, i, count, reals=True).batch(7) for i in range(count)]
        assert same(Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True))), whole)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    with pytest.raises(DataError, match=r"data\.batch is 12, which 5 processes cannot share"):
        TrainingBatches(settings, 4, 10, 0, 5)


def start_by(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let data processes be started in this way."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    chosen = multiprocessing.get_context(method)
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", chosen)


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children inherit what the test changes."""
    start_by("fork", monkeypatch)


@pytest.mark.parametrize(("method", "workers", "packed"), [("spawn", 1, False), ("fork", 1, False), ("fork", 3, True)])
def test_workers_make_the_same_batches_from_any_step_on(
    folder: Path, camera: Path, method: str, workers: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_by(method, monkeypatch)
    settings = recipe(stored(folder) if packed else folder, degradation=camera, workers=workers)
    with closing(TrainingBatches(settings, 4, 10, reals=True).stream(7)) as stream:
        made = [next(stream) for _ in range(7)]  # none is a window on memory that is used again
    alone = TrainingBatches(recipe(folder, degradation=camera), 4, 10, reals=True)
    assert [step for step, _ in made] == [*range(7, 14)]
    assert all(same(batch, alone.batch(step)) for step, batch in made)


def test_seeds_steps_and_places_differ_and_are_those_of_earlier_versions(folder: Path) -> None:
    first = TrainingBatches(recipe(folder), 4, 10).batch(0)
    assert not same(first, TrainingBatches(recipe(folder), 4, 11).batch(0))
    assert not same(first, TrainingBatches(recipe(folder), 4, 10).batch(1))
    assert len(first.hr.unique(dim=0)) == 12
    shown = TrainingBatches(recipe(folder, batch=3), 4, 10).origins(7)
    expected = ("b.png at column 58, row 5", "e.png at column 8, row 45", "c.png at column 23, row 17")
    assert shown == [str(folder / origin) for origin in expected]


def test_each_photo_is_shown_once_before_any_is_shown_again(folder: Path) -> None:
    batches = TrainingBatches(recipe(folder, batch=3), 4, 10)
    shown = [origin.split(" at ")[0] for step in range(50) for origin in batches.origins(step)]
    orders = {tuple(shown[start : start + 5]) for start in range(0, 150, 5)}
    assert all(len(set(order)) == 5 for order in orders)
    assert len(orders) > 15


def test_crops_reach_every_corner_and_turn_all_ways(tmp_path: Path) -> None:
    """One photo whose pixels say where they are: crops are read back from them."""
    places = np.zeros((20, 22, 3), np.uint8)
    places[..., 0], places[..., 1] = np.arange(20)[:, None], np.arange(22)[None]
    Image.fromarray(places).save(tmp_path / "a.png")
    batches = TrainingBatches(recipe(tmp_path, batch=40), 4, 1)
    seen, turns = Counter(), Counter()
    for step in range(20):
        crops = (batches.batch(step).to().hr * 255).round().long()
        for crop, origin in zip(crops, batches.origins(step), strict=True):
            top, left = int(crop[0].min()), int(crop[1].min())
            seen[top, left] += 1
            assert origin == f"{tmp_path / 'a.png'} at column {left}, row {top}"
            corners = [tuple((crop[:2, y, x] - crop[:2].amin((1, 2))).tolist()) for y, x in ((0, 0), (0, -1))]
            turns[tuple(corners)] += 1
    assert set(seen) == {(top, left) for top in range(5) for left in range(7)}
    assert len(turns) == 8 and min(turns.values()) > 50
    plain = TrainingBatches(recipe(tmp_path, augment=False), 4, 1).batch(0).hr
    assert (plain[:, 0].diff(dim=1) > 0).all() and (plain[:, 1].diff(dim=2) > 0).all()


def test_independent_reals_are_other_crops_and_change_nothing_else(folder: Path) -> None:
    batch = TrainingBatches(recipe(folder, batch=60), 4, 10, reals=True).batch(2)
    plain = TrainingBatches(recipe(folder, batch=60), 4, 10).batch(2)
    assert plain.reals is None and torch.equal(plain.hr, batch.hr) and torch.equal(plain.lr, batch.lr)
    assert batch.reals is not None
    assert len(torch.cat([batch.hr, batch.reals]).unique(dim=0)) > 115


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
    batch = TrainingBatches(recipe("photos/train", batch=24, crop=64), 4, 3).batch(0).to()
    again = Degradation(4).apply(batch.hr)
    assert torch.allclose(batch.lr[..., 2:-2, 2:-2], again[..., 2:-2, 2:-2], atol=2e-6)
    assert not torch.allclose(batch.lr, again, atol=2e-3)  # at the borders it saw more than the crop


def test_kernels_noise_and_qualities_are_drawn_for_each_sample(tmp_path: Path, camera: Path) -> None:
    Image.new("RGB", (16, 16), (90, 120, 60)).save(tmp_path / "flat.png")
    lr = TrainingBatches(recipe(tmp_path, degradation=camera), 4, 1).batch(0).lr
    assert len(lr.unique(dim=0)) == 12
    assert lr.min() >= 0 and lr.max() <= 1
    assert (lr * 255 - (lr * 255).round()).abs().max() < 1e-4  # JPEG came last


def refused(settings: schema.Data, problem: str, scale: int = 4) -> None:
    with pytest.raises((DataError, DegradationError), match=problem):
        TrainingBatches(settings, scale, 10)


def blocks(photo: Tensor) -> Tensor:
    return photo.repeat_interleave(4, -1).repeat_interleave(4, -2)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """HR photos of 4×4 blocks, and LR photos of a pixel a block; the second has pixels that are no whole block.

    Their names come in the other order once a scale is behind them.
    """
    draw = np.random.default_rng(1)
    for name, (height, width), extra in (("a", (9, 12), 0), ("a-1", (8, 15), 3)):
        small = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        large = np.pad(small.repeat(4, 0).repeat(4, 1), ((0, extra), (0, extra), (0, 0)))
        for place, pixels in (("lr", small), ("hr", large)):
            (tmp_path / place).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / place / f"{name}.png")
    return tmp_path / "hr", tmp_path / "lr"


@pytest.mark.parametrize("how", ["folders", "stores", "names with the scale"])
def test_pairs_from_two_places_stay_on_each_other(pairs: tuple[Path, Path], how: str) -> None:
    hr, lr = pairs
    expected = TrainingBatches(recipe(hr, lr=lr), 4, 5).batch(0)
    if how == "stores":
        hr, lr = stored(hr), stored(lr)
    elif how == "names with the scale":
        for path in list(lr.iterdir()):
            path.rename(path.with_stem(f"{path.stem}x4"))
    batch = TrainingBatches(recipe(hr, lr=lr), 4, 5).batch(0)
    assert same(batch, expected)
    assert batch.lr.is_contiguous() and batch.hr.is_contiguous()
    assert torch.equal(batch.to().hr, blocks(batch.lr))
    assert len(batch.lr.unique(dim=0)) > 8


def test_pairs_that_do_not_match_are_named(pairs: tuple[Path, Path]) -> None:
    hr, lr = pairs
    refused(recipe(hr, lr=lr), r"2 of 2 pairs do not differ by the scale 2: .*a\.png \(48×36\) and its LR", 2)
    refused(recipe((str(hr), str(hr)), lr=lr), "matched by name, but a, a-1 occur twice")
    (lr / "a-1.png").rename(lr / "c.png")
    refused(recipe(hr, lr=lr), r"1 of 2 HR photos have no LR .*: .*a-1\.png; LR names look like a, c")


# --- places


def test_the_fingerprint_is_that_of_names_contents_and_clean_up_in_a_folder_or_a_store(folder: Path) -> None:
    def fingerprint(cleanup: float = 1.0) -> str:
        of_folder = TrainingBatches(recipe(folder, cleanup=cleanup), 4, 10)
        store = stored(folder, cleanup)
        of_store = TrainingBatches(recipe(store, cleanup=cleanup, crop=20, batch=1), 4, 10)
        assert of_folder.fingerprint == of_store.fingerprint
        assert same(of_folder.batch(4), TrainingBatches(recipe(store, cleanup=cleanup), 4, 10).batch(4))
        store.unlink()
        return of_folder.fingerprint

    prints = [fingerprint(), fingerprint(1.5)]
    (folder / "a.png").rename(folder / "aa.png")
    prints.append(fingerprint())
    paint(folder / "b.png", 33, 90, seed=8)
    prints.append(fingerprint())
    assert len(set(prints)) == 4 and all(len(value) == 64 for value in prints)


def test_several_places_are_one_list(folder: Path, tmp_path: Path) -> None:
    for name in ("z", "z-1"):  # their files come in the other order
        paint(tmp_path / "more" / f"{name}.png", 40, 40)
    other = stored(tmp_path / "more")
    photos = Photos([str(folder), str(other), "photos/val"])
    assert [photo.name for photo in photos.photos[:7]] == ["a", "b", "c", "d", "e", "z", "z-1"]
    assert len(photos.photos) == 13
    assert str(photos.photos[5]) == f"{other}: z" and str(photos.photos[0]) == str(folder / "a.png")


def test_photos_beyond_the_memory_are_decoded_anew_and_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enough = TrainingBatches(recipe(folder), 4, 10)
    expected = enough.batch(0)
    with monkeypatch.context() as patch:
        patch.setattr(sources, "MEMORY", 20_000)
        with pytest.warns(UserWarning, match=r"decoded photos take 0\.00 GB, but .* kept.*otsr pack FOLDER"):
            some = TrainingBatches(recipe(folder), 4, 10)
            shared = Photos([str(folder)], processes=4)
        assert 4 * shared._room == sources.MEMORY  # all processes together keep no more
    assert same(some.batch(0), expected)
    assert 0 < sum(pixels.nbytes for pixels in some.hr._kept.values()) <= 20_000
    monkeypatch.setattr(sources, "clean_photo", lambda *_: pytest.fail("decoded again"))
    assert same(enough.batch(0), expected)


# --- bad data is named at the start


def test_photos_that_cannot_be_used_are_all_named(folder: Path) -> None:
    refused(recipe(folder, crop=36), r"3 of 5 photos are smaller than the crop of 36: .*b\.png \(90×33\).*d")
    refused(recipe(folder, crop=20, cleanup=2.0), r"after the clean-up by 2: .*data\.crop lower")
    for number in range(9):
        paint(folder / f"s{number}.png", 10, 10)
    refused(recipe(folder), r"9 of 14.*s4\.png.*and 4 more;")
    (folder / "x.jpg").write_text("no picture")
    (folder / "y.png").touch()
    refused(recipe(folder), r"x\.jpg: not a picture.*y\.png: .*it is empty.*repair or remove")


def test_places_that_are_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "train").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    refused(recipe("gone"), "gone: no such folder; expected a folder of pictures, a .lmdb store, or photos")
    refused(recipe("empty"), "empty: no pictures in this folder")
    refused(recipe("file"), "file: not a folder; expected a folder")
    refused(recipe("photos/train"), "also the course's name for its own photos")


def test_stores_and_degradations_for_something_else_are_refused(folder: Path, camera: Path, tmp_path: Path) -> None:
    other = r"packed with a clean-up of 1\.5, but the recipe says 1; set cleanup to 1\.5"
    refused(recipe(stored(folder, 1.5)), other)
    refused(recipe(folder, degradation=camera), r"camera\.safetensors: made for ×4, not ×2", 2)
    refused(recipe(folder, degradation=tmp_path / "gone.safetensors"), "no such file")
    Degradation(4, cleanup=2).save(tmp_path / "d.safetensors")
    refused(recipe(folder, degradation=tmp_path / "d.safetensors"), r"needs data\.cleanup: 2")
    with pytest.warns(UserWarning, match="no noise"):
        assert load_degradation(str(tmp_path / "d.safetensors"), 4, 2.0).cleanup == 1


def test_processes_that_begin_together_estimate_the_phone_once_and_keep_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[int] = []

    def estimate(photos: list[Path], scale: int, **_: object) -> object:
        estimated.append(len(photos))
        time.sleep(0.2)
        return SimpleNamespace(degradation=Degradation(scale, kernels.gaussian(8, 1 + len(estimated))))

    def batch(_: int) -> Batch:
        return TrainingBatches(recipe(folder, degradation="phone"), 4, 10, folder=tmp_path / "run").batch(0)

    monkeypatch.setattr(scenes, "estimate_camera", estimate)
    with pytest.warns(UserWarning, match="no noise"), ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(batch, range(3))
    assert estimated == [11] and all(same(first, other) for other in others)
    (tmp_path / "run" / "phone-x4.safetensors").write_bytes(b"cut")
    assert not same(first, batch(3)) and estimated == [11, 11]


# --- workers that fail


def test_an_error_in_a_worker_carries_the_files_name(folder: Path) -> None:
    batches = TrainingBatches(recipe(folder, workers=1), 4, 10)
    (folder / "c.png").write_bytes((folder / "c.png").read_bytes()[:500])
    problem = r"step 0: .*c\.png: damaged or truncated"
    with pytest.raises(DataError, match=problem), closing(batches.stream()) as stream:
        next(stream)
    paint(folder / "c.png", 70, 70)
    with pytest.raises(DataError, match=r"c\.png: 70×70 pixels, but 64×64 at the start"):
        batches.batch(0)
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize(
    ("name", "happens", "error", "words"),
    [
        ("_crops", lambda *_: {}["no such key"], KeyError, r"(?s)Traceback.*no such key"),
        ("batch", lambda *_: os._exit(3), DataError, r"(?s)worker.*exit.*--resume"),
    ],
    ids=["a mistake of ours", "an end of the process"],
)
def test_what_ends_a_worker_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, happens: Any, error: type, words: str
) -> None:
    monkeypatch.setattr(TrainingBatches, name, happens)
    with (
        pytest.raises(error, match=words),
        closing(TrainingBatches(recipe(folder, workers=1), 4, 10).stream()) as stream,
    ):
        next(stream)


@pytest.mark.usefixtures("forks")
def test_closing_the_stream_ends_its_processes_even_beside_another(folder: Path) -> None:
    others = set(multiprocessing.active_children())  # of a test before this one, not collected yet

    def ours() -> int:
        return len(set(multiprocessing.active_children()) - others)

    batches = TrainingBatches(recipe(folder, workers=2), 4, 10)
    with closing(batches.stream(3)) as second:
        with closing(batches.stream()) as first:
            next(first), next(second)
            assert ours() == 4
        assert ours() == 2 and next(second)[0] == 4
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
    time.sleep(0.01)
"""


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # nobody may be there to collect an orphan


@pytest.mark.usefixtures("forks")
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
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
    first, second = (Validation(schema.Validation(images=images), settings, 4) for images in (2, None))
    assert (len(first), len(second)) == (2, 6)
    assert len(Validation(schema.Validation(hr="no-such-folder", images=0), settings, 4)) == 0
    degradation = Degradation.load(camera)
    for index, (one, two) in enumerate(zip(first, second, strict=False)):
        photo = Path(str(second.hr.photos[index]))
        hr, lr = degradation.pair(read(photo), seed=index)
        assert one.name == two.name == photo.stem
        assert torch.equal(one.lr, lr) and torch.equal(two.lr, lr)
        assert torch.equal(one.hr, hr) and torch.equal(two.hr, hr)


def test_a_validation_photo_that_cannot_be_measured_is_named_at_the_start(tmp_path: Path) -> None:
    paint(tmp_path / "val" / "large.png", 40, 44)
    paint(tmp_path / "val" / "small.png", 44, 20)
    with pytest.raises(DataError, match=r"validation\.hr: .*small\.png"):
        Validation(schema.Validation(hr=str(tmp_path / "val")), recipe("photos/train"), 4)


def test_validation_takes_pairs_and_cleans_photos_up(pairs: tuple[Path, Path], folder: Path) -> None:
    for index, pair in enumerate(Validation(schema.Validation(hr=str(folder), cleanup=1.25), recipe("x"), 4)):
        pixels = Photos([str(folder)], 1.25).read(index)
        assert torch.equal(pair.hr, torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
        assert pair.hr.shape[-2:] == tuple(4 * side for side in pair.lr.shape[-2:])
    hr, lr = map(str, pairs)
    for pair in Validation(schema.Validation(hr=hr, lr=lr), recipe("x"), 4):
        assert torch.equal(pair.hr, blocks(pair.lr)) and pair.hr.is_contiguous()
    with pytest.raises(DataError, match="do not differ by the scale 2"):
        Validation(schema.Validation(hr=hr, lr=lr), recipe("x"), 2)
