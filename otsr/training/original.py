"""Recipes of RealSR and OTSR: an option file of theirs, turned into one of ours.

Both come from MMSR, and so do their option files: YAML with the parts datasets, network_G, network_D, path, train and
logger. What has a counterpart is translated, everything else is listed. The translation keeps the line of each value,
so that an error in it leads to their file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from otsr.training.recipe import ConfigError, Key, Places, Recipe, describe, read_yaml

_CLIP = 5.0  # in the code of OTSR, not in its option files
# Keys that say what holds here in any case, or that say nothing to a training.
_SILENT = {
    "model", "distortion", "use_tb_logger", "datasets.train.name", "datasets.val.name", "datasets.val.mode",
    "datasets.train.use_shuffle", "network_G.upscale", "network_G.scale", "path.root",
}  # fmt: skip
_REASONS = {
    "gpu_ids": "devices are chosen by the machine; for several: torchrun --nproc-per-node N -m otsr train ...",
    "benckmark": "has no effect in the original either (it is misspelt)",
    "path.pretrain_model_D": "the critic starts afresh",
    "path.resume_state": "checkpoints of theirs cannot be resumed; ours: otsr train --resume",
    "path.strict_load": "weights must fit the network",
    "path.models": "weights are kept in the folder of the run",
    "path.val_images": "pictures are kept in TensorBoard",
    "train.clear_state": "Adam's state is kept at a restart",
    "train.restarts": "restarts follow from the periods",
}
_MISSPELT = {"gp_weigth": "gp_weight", "benchmark": "benckmark"}
_RENAMED = {"dataroot_HR": "dataroot_GT", "dataroot_LR": "dataroot_LQ", "HR_size": "GT_size"}


@dataclass
class Original:
    """A recipe in our words.

    Attributes:
        recipe: our keys, with the lines of theirs.
        notes: what has no counterpart, or another one than one might think; a line each, with its place.
    """

    recipe: Recipe
    notes: list[str] = field(default_factory=list)


def is_original(values: dict[str, Any]) -> bool:
    """Whether these are the options of RealSR, OTSR or BasicSR."""
    return "datasets" in values and any(key in values for key in ("network_G", "network_g"))


def read_original(path: str | os.PathLike[str]) -> Original:
    """Translate an option file. Raises ConfigError: it cannot be read, or asks for what is not here."""
    return translate(read_yaml(Path(path)))


def translate(theirs: Recipe) -> Original:
    """Translate what `read_yaml` read. Raises ConfigError: see `read_original`."""
    options = _Options(theirs)
    _check_kind(options)
    _general(options)
    _network(options)
    _data(options)
    _validation(options)
    _optimiser(options)
    gan = _losses(options)
    if gan:
        _critic(options)
    options.list_unread(adversarial=gan)
    return options.ours


class _Options:
    """Their options, of which is known what has been read, and our recipe as it grows."""

    def __init__(self, theirs: Recipe) -> None:
        self.places = theirs.places
        self.values: dict[str, Any] = {}
        self._keys: dict[str, Key] = {}
        self._flatten(theirs.values, ())
        self.read: set[str] = set()
        self.ours = Original(Recipe({}, Places({(): theirs.places.of(())})))

    def _flatten(self, part: dict[str, Any], above: Key) -> None:
        for name, value in part.items():
            key = (*above, name)
            if isinstance(value, dict):
                self._flatten(value, key)
            else:
                last = _RENAMED.get(name, _MISSPELT.get(name, name))
                dotted = ".".join([*map(str, above), last])
                self.values[dotted] = value
                self._keys[dotted] = key

    def take(self, key: str, default: Any = None) -> Any:
        """A value of theirs; what is empty counts as not given."""
        self.read.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def whole(self, key: str, default: int | None = None) -> Any:
        """A number that they may write as 5e3."""
        value = self.take(key, default)
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def put(self, ours: str, value: Any, theirs: str) -> None:
        """Set one of our keys; errors about it lead to theirs."""
        part = self.ours.recipe.values
        *above, last = ours.split(".")
        for name in above:
            part = part.setdefault(name, {})
        part[last] = value
        key = self._keys.get(theirs, tuple(theirs.split(".")))
        self.ours.recipe.places.known[tuple(ours.split("."))] = self.places.of(key)

    def move(self, theirs: str, ours: str, *, whole: bool = False) -> None:
        """Give a value another name, if it is there."""
        value = self.whole(theirs) if whole else self.take(theirs)
        if value is not None:
            self.put(ours, value, theirs)

    def note(self, key: str, words: str) -> None:
        self.ours.notes.append(f"{self.place(key)}: {key} {words}")

    def error(self, key: str, words: str) -> ConfigError:
        return ConfigError(f"{self.place(key)}: {key} {words}")

    def place(self, key: str) -> str:
        return self.places.of(self._keys.get(key, tuple(key.split("."))))

    def list_unread(self, *, adversarial: bool) -> None:
        """A note on everything that is given and was not read."""
        for key, value in self.values.items():
            if value is None or key in self.read or key in _SILENT:
                continue
            if not adversarial and (key.startswith("network_D.") or key.endswith("_D")):
                continue
            reason = _REASONS.get(key, _REASONS.get(key.split(".")[-1], ""))
            self.note(key, "has no counterpart" + (f": {reason}" if reason else ""))


def _check_kind(options: _Options) -> None:
    if any(key.startswith("network_g.") for key in options.values):
        raise options.error(
            "network_g",
            "is of a later BasicSR; only option files with network_G (RealSR, OTSR, MMSR) are read",
        )
    if not any(key.startswith("datasets.train.") for key in options.values):
        raise options.error(
            "datasets", "has no part `train`: this file is for a test; see otsr upscale --help"
        )
    if options.values.get("distortion", "sr") != "sr":
        raise options.error("distortion", f"is {describe(options.values['distortion'])}, expected sr")


def _general(options: _Options) -> None:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(options.take("name", "original"))).strip("-._")[:80]
    options.put("name", name or "original", "name")
    options.move("scale", "scale")
    options.move("train.niter", "steps", whole=True)
    options.move("train.manual_seed", "seed", whole=True)
    start = options.take("path.pretrain_model_G")
    if start is not None:
        options.put("start", str(Path(str(start)).expanduser()), "path.pretrain_model_G")
    if options.values.get("path.strict_load") is True:
        options.read.add("path.strict_load")
    options.move("train.val_freq", "every.validate", whole=True)
    options.move("train.val_freq", "every.pictures", whole=True)
    options.move("logger.print_freq", "every.log", whole=True)
    options.move("logger.save_checkpoint_freq", "every.checkpoint", whole=True)


def _network(options: _Options) -> None:
    key = "network_G.which_model_G"
    name = options.take(key)
    if name not in ("RRDBNet", "RRDB_net"):
        raise options.error(
            key, f"is {describe(name)}, expected RRDBNet, the one network of theirs that is here"
        )
    options.put("network.name", "RRDBNet", key)
    for channels in ("in_nc", "out_nc"):
        if options.take(f"network_G.{channels}", 3) != 3:
            raise options.error(f"network_G.{channels}", "is not 3: colour pictures are what is here")
    for size in ("nf", "nb", "gc"):
        options.move(f"network_G.{size}", f"network.{size}", whole=True)


def _data(options: _Options) -> None:
    part = "datasets.train"
    options.move(f"{part}.dataroot_GT", "data.hr")
    options.move(f"{part}.GT_size", "data.crop", whole=True)
    options.move(f"{part}.batch_size", "data.batch", whole=True)
    options.move(f"{part}.n_workers", "data.workers", whole=True)
    mode = options.take(f"{part}.mode", "LQGT")
    if mode not in ("LQGT", "LRHR"):
        options.note(f"{part}.mode", f"is {describe(mode)}; read as LQGT, pairs of LR and HR")
    flips = [bool(options.take(f"{part}.{key}", False)) for key in ("use_flip", "use_rot")]
    if flips[0] != flips[1]:
        options.note(
            f"{part}.use_flip", "and use_rot differ; flips and rotations go together here and are on"
        )
    options.put("data.augment", any(flips), f"{part}.use_flip")
    if options.take(f"{part}.color", "RGB") != "RGB":
        options.note(f"{part}.color", "has no counterpart: pictures are RGB")
    _stores(options, part)
    if options.take(f"{part}.aug") == "noise" and options.take(f"{part}.noise_data") is not None:
        _noise(options, f"{part}.noise_data")
    else:
        options.move(f"{part}.dataroot_LQ", "data.lr")


def _noise(options: _Options, key: str) -> None:
    """Their LR has no noise yet, and gets some at each step: that is a degradation of ours, made of HR."""
    file = f"{Path(options.take(key)).name or 'noise'}.safetensors"
    options.put("data.degradation", file, key)
    options.read.add("datasets.train.dataroot_LQ")
    options.note(
        key,
        f"became data.degradation: {file}; make it of the photos that the noise was cut from: "
        f"otsr estimate PHOTOS -o {file}. LR is made of HR by it, so datasets.train.dataroot_LQ is not read",
    )


def _validation(options: _Options) -> None:
    part = "datasets.val"
    options.move(f"{part}.dataroot_GT", "validation.hr")
    options.move(f"{part}.dataroot_LQ", "validation.lr")
    _stores(options, part)
    if "validation" not in options.ours.recipe.values:
        options.put("validation.images", 0, "datasets")


def _stores(options: _Options, part: str) -> None:
    for key in (f"{part}.dataroot_GT", f"{part}.dataroot_LQ"):
        if str(options.values.get(key) or "").rstrip("/").endswith("lmdb"):
            options.note(
                key,
                "is a store of theirs, which holds files; make one of ours: otsr pack FOLDER -o STORE.lmdb",
            )


def _optimiser(options: _Options) -> None:
    options.move("train.lr_G", "optimiser.lr")
    options.move("train.lr_D", "optimiser.critic_lr")
    betas = {"G": [0.9, 0.999], "D": [0.9, 0.999]}
    for network, pair in betas.items():
        for index in (0, 1):
            name = f"train.beta{index + 1}"
            # MMSR's file for MSRResNet writes beta1 and reads beta1_G.
            pair[index] = options.take(f"{name}_{network}", options.take(name, pair[index]))
    options.put("optimiser.betas", betas["G"], "train.beta1_G")
    if "train.beta1_D" in options.values and betas["G"] != betas["D"]:
        options.note(
            "train.beta1_D", f"and beta2_D are {betas['D']}; both optimisers take {betas['G']}, those of G"
        )
    for network in "GD":
        if options.take(f"train.weight_decay_{network}", 0) != 0:
            options.note(f"train.weight_decay_{network}", "has no counterpart: no weight decays")
    _schedule(options)


def _schedule(options: _Options) -> None:
    scheme = options.take("train.lr_scheme", "MultiStepLR")
    part = "optimiser.schedule"
    if scheme in ("MultiStepLR", "MultiStepLR_Restart"):
        options.put(f"{part}.kind", "multistep", "train.lr_scheme")
        options.move("train.lr_steps", f"{part}.milestones")
        options.move("train.lr_gamma", f"{part}.factor")
        if options.take("train.restarts"):
            options.note("train.restarts", "has no counterpart in MultiStepLR; use the cosine schedule")
    elif scheme == "CosineAnnealingLR_Restart":
        options.put(f"{part}.kind", "cosine", "train.lr_scheme")
        options.move("train.T_period", f"{part}.periods")
        options.move("train.eta_min", f"{part}.floor")
        _restarts(options, part)
    else:
        raise options.error(
            "train.lr_scheme", f"is {describe(scheme)}, expected MultiStepLR or CosineAnnealingLR_Restart"
        )
    warmup = options.whole("train.warmup_iter", -1)
    if warmup != -1:
        options.put(f"{part}.warmup", warmup, "train.warmup_iter")


def _restarts(options: _Options, part: str) -> None:
    """Theirs are one fewer than the periods: the first one is no restart."""
    weights, periods = options.take("train.restart_weights"), options.take("train.T_period")
    if isinstance(weights, list):
        options.put(f"{part}.restart_weights", [1, *weights], "train.restart_weights")
    restarts = options.take("train.restarts")
    if restarts and isinstance(periods, list) and restarts != list(accumulate(periods))[:-1]:
        options.note("train.restarts", "are not where the periods end; they are taken to be there")


def _losses(options: _Options) -> bool:
    """Put the losses; say whether there is an adversary."""
    for name in ("pixel", "feature"):
        criterion = options.take(f"train.{name}_criterion", "l1")
        if criterion != "l1":
            options.note(
                f"train.{name}_criterion", f"is {describe(criterion)}; l1 is what is here, and is taken"
            )
    options.move("train.pixel_weight", "losses.pixel.weight")
    options.ours.recipe.values.setdefault("losses", {})
    if options.values.get("model", "srgan") == "sr":
        return False
    if options.take("train.feature_weight", 0):
        options.move("train.feature_weight", "losses.perceptual.weight")
        options.put("losses.perceptual.backbone", "vgg19", "train.feature_weight")
        options.put("losses.perceptual.layers", {"conv5_4": 1}, "train.feature_weight")
    _edge(options)
    return _gan(options)


def _edge(options: _Options) -> None:
    kind = options.take("train.edge_type")
    if not options.take("train.edge_weight", 0):
        return
    options.move("train.edge_weight", "losses.edge.weight")
    if kind not in ("sobel", "canny"):
        options.note("train.edge_type", f"is {describe(kind)}, which is not here; sobel is taken")
        kind = "sobel"
    options.put("losses.edge.kind", kind, "train.edge_type")


def _gan(options: _Options) -> bool:
    kind = options.take("train.gan_type", "gan")
    if not options.take("train.gan_weight", 0):
        return False
    options.move("train.gan_weight", "losses.gan.weight")
    options.put("losses.gan.kind", kind, "train.gan_type")
    options.move("train.gp_weight", "losses.gan.gp_weight")
    options.move("train.D_update_ratio", "losses.gan.ratio", whole=True)
    first = options.whole("train.D_init_iters", 0)
    if first:
        options.put("losses.gan.start", first, "train.D_init_iters")
        options.note(
            "train.D_init_iters",
            "became losses.gan.start: until then the generator learns by its other losses",
        )
    gamma, stiffness = options.take("train.WQC_gamma"), options.take("train.WQC_KCoef", 1)
    if kind == "wgan-qc":
        if gamma is not None:
            options.put("losses.gan.gamma", gamma, "train.WQC_gamma")
        if stiffness != 1:
            crop = options.whole("datasets.train.GT_size", 128)
            options.put("losses.gan.K", stiffness / (3 * crop**2), "train.WQC_KCoef")
        options.note(
            "train.gan_type",
            "is wgan-qc: labels are exact here. Theirs are boxed into [0, 1] and so always 1 and 0; expect other pictures",
        )
    if kind == "wgan-qc" or "train.edge_type" in options.values:
        options.put("clip", _CLIP, "train.gan_type")
        options.note(
            "train",
            f"does not say it, but OTSR's code clips the norm of G's gradient at {_CLIP:g}: clip: {_CLIP:g}",
        )
    return True


def _critic(options: _Options) -> None:
    key = "network_D.which_model_D"
    name = options.take(key)
    if name is not None and re.fullmatch(r"discriminator_vgg_\d+", str(name)):
        options.put("critic.name", "vgg", key)
    elif name == "NLayerDiscriminator":
        options.put("critic.name", "patch", key)
        options.move("network_D.nlayer", "critic.layers", whole=True)
    else:
        raise options.error(
            key, f"is {describe(name)}, expected discriminator_vgg_128 or NLayerDiscriminator"
        )
    options.move("network_D.nf", "critic.nf", whole=True)
    options.read.add("network_D.in_nc")
    options.put("critic.norm", "group", key)
    options.note(key, "has batch norm, which couples the samples; it became norm: group")
