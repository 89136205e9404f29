"""Recipes of RealSR and OTSR: an option file of theirs, turned into one of ours.

Both come from MMSR, and so do their option files: YAML with the parts datasets, network_G, network_D, path, train and
logger. What has a counterpart is translated, everything else is listed. The translation keeps the line of each value,
so that an error in it leads to their file.
"""

from __future__ import annotations

import os
import re
from itertools import accumulate
from pathlib import Path
from typing import Any

from otsr.training.options import Options, Original
from otsr.training.plain_yaml import describe
from otsr.training.recipe import Recipe, read_yaml

_CLIP = 5.0  # in the code of OTSR, not in its option files
# What is only called otherwise.
_MOVES = (
    ("scale", "scale"),
    ("train.niter", "steps"),
    ("train.manual_seed", "seed"),
    ("network_G.nf", "network.nf"),
    ("network_G.nb", "network.nb"),
    ("network_G.gc", "network.gc"),
    ("datasets.train.dataroot_GT", "data.hr"),
    ("datasets.train.GT_size", "data.crop"),
    ("datasets.train.batch_size", "data.batch"),
    ("datasets.train.n_workers", "data.workers"),
    ("datasets.val.dataroot_GT", "validation.hr"),
    ("datasets.val.dataroot_LQ", "validation.lr"),
    ("train.lr_G", "optimiser.lr"),
    ("train.lr_D", "optimiser.critic_lr"),
    ("train.pixel_weight", "losses.pixel.weight"),
    ("train.val_freq", "every.validate"),
    ("train.val_freq", "every.pictures"),
    ("logger.print_freq", "every.log"),
    ("logger.save_checkpoint_freq", "every.checkpoint"),
)


def is_original(values: dict[str, Any]) -> bool:
    """Whether these are the options of RealSR, OTSR or BasicSR."""
    return "datasets" in values and any(key in values for key in ("network_G", "network_g"))


def read_original(path: str | os.PathLike[str]) -> Original:
    """Translate an option file. Raises ConfigError: it cannot be read, or asks for what is not here."""
    return translate(read_yaml(Path(path)))


def translate(theirs: Recipe) -> Original:
    """Translate what `read_yaml` read. Raises ConfigError: see `read_original`."""
    options = Options(theirs)
    _check_kind(options)
    _general(options)
    _network(options)
    _data(options)
    _optimiser(options)
    gan = _losses(options)
    if gan:
        _critic(options)
    options.list_unread(adversarial=gan)
    return options.ours


def _check_kind(options: Options) -> None:
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


def _general(options: Options) -> None:
    for theirs, ours in _MOVES:
        options.move(theirs, ours)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(options.take("name", "original"))).strip("-._")[:80]
    options.put("name", name or "original", "name")
    options.put("ema", 0, "name")  # theirs keep the weights of the last step
    start = options.take("path.pretrain_model_G")
    if start is not None:
        options.put("start", str(Path(str(start)).expanduser()), "path.pretrain_model_G")
    if options.values.get("path.strict_load") is True:
        options.read.add("path.strict_load")


def _network(options: Options) -> None:
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


def _data(options: Options) -> None:
    part = "datasets.train"
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
    for dataset in ("train", "val"):
        for side in ("GT", "LQ"):
            _store(options, f"datasets.{dataset}.dataroot_{side}")
    if "validation" not in options.ours.recipe.values:
        options.put("validation.images", 0, "datasets")
    if options.take(f"{part}.aug") == "noise" and options.take(f"{part}.noise_data") is not None:
        _noise(options, f"{part}.noise_data")
    else:
        options.move(f"{part}.dataroot_LQ", "data.lr")


def _noise(options: Options, key: str) -> None:
    """Their LR has no noise yet, and gets some at each step: that is a degradation of ours, made of HR."""
    file = f"{Path(options.take(key)).name or 'noise'}.safetensors"
    options.put("data.degradation", file, key)
    options.read.add("datasets.train.dataroot_LQ")
    options.note(
        key,
        f"became data.degradation: {file}; make it of the photos that the noise was cut from: "
        f"otsr estimate PHOTOS -o {file}. LR is made of HR by it, so datasets.train.dataroot_LQ is not read",
    )


def _store(options: Options, key: str) -> None:
    if str(options.values.get(key) or "").rstrip("/").endswith("lmdb"):
        options.note(key, "is a store of theirs, of files; make one of ours: otsr pack FOLDER -o STORE.lmdb")


def _optimiser(options: Options) -> None:
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


def _schedule(options: Options) -> None:
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
    warmup = options.take("train.warmup_iter", -1)
    if warmup != -1:
        options.put(f"{part}.warmup", warmup, "train.warmup_iter")


def _restarts(options: Options, part: str) -> None:
    """Theirs are one fewer than the periods: the first one is no restart."""
    weights, periods = options.take("train.restart_weights"), options.take("train.T_period")
    if isinstance(weights, list):
        options.put(f"{part}.restart_weights", [1, *weights], "train.restart_weights")
    restarts = options.take("train.restarts")
    if restarts and isinstance(periods, list) and restarts != list(accumulate(periods))[:-1]:
        options.note("train.restarts", "are not where the periods end; they are taken to be there")


def _losses(options: Options) -> bool:
    """Put the losses; say whether there is an adversary."""
    for name in ("pixel", "feature"):
        criterion = options.take(f"train.{name}_criterion", "l1")
        if criterion != "l1":
            options.note(
                f"train.{name}_criterion", f"is {describe(criterion)}; l1 is what is here, and is taken"
            )
    options.ours.recipe.values.setdefault("losses", {})
    if options.values.get("model", "srgan") == "sr":
        return False
    if options.take("train.feature_weight", 0):
        options.move("train.feature_weight", "losses.perceptual.weight")
        options.put("losses.perceptual.backbone", "vgg19", "train.feature_weight")
        options.put("losses.perceptual.layers", {"conv5_4": 1}, "train.feature_weight")
        options.note(
            "train.feature_weight",
            "is kept, but feature distances are divided by the features' mean size here",
        )
    _edge(options)
    return _gan(options)


def _edge(options: Options) -> None:
    kind = options.take("train.edge_type")
    if not options.take("train.edge_weight", 0):
        return
    options.move("train.edge_weight", "losses.edge.weight")
    if kind not in ("sobel", "canny"):
        options.note("train.edge_type", f"is {describe(kind)}, which is not here; sobel is taken")
        kind = "sobel"
    options.put("losses.edge.kind", kind, "train.edge_type")


def _gan(options: Options) -> bool:
    kind = options.take("train.gan_type", "gan")
    if not options.take("train.gan_weight", 0):
        return False
    options.move("train.gan_weight", "losses.gan.weight")
    options.put("losses.gan.kind", kind, "train.gan_type")
    options.move("train.gp_weight", "losses.gan.gp_weight")
    options.move("train.D_update_ratio", "losses.gan.ratio")
    first = options.take("train.D_init_iters", 0)
    if first:
        options.put("losses.gan.start", first, "train.D_init_iters")
        options.note(
            "train.D_init_iters",
            "became losses.gan.start: until then G learns by its other losses",
        )
    gamma, stiffness = options.take("train.WQC_gamma"), options.take("train.WQC_KCoef", 1)
    if kind == "wgan-qc":
        if gamma is not None:
            options.put("losses.gan.gamma", gamma, "train.WQC_gamma")
        if stiffness != 1:
            crop = options.take("datasets.train.GT_size", 128)
            options.put("losses.gan.K", stiffness / (3 * crop**2), "train.WQC_KCoef")
        options.note(
            "train.gan_type",
            "is wgan-qc, with exact labels; OTSR's are boxed into [0, 1], so always 1 and 0: expect other pictures",
        )
    if kind == "wgan-qc" or "train.edge_type" in options.values:
        options.put("clip", _CLIP, "train.gan_type")
        options.note(
            "train",
            f"does not say it, but OTSR's code clips G's gradient: clip: {_CLIP:g}",
        )
    return True


def _critic(options: Options) -> None:
    key = "network_D.which_model_D"
    name = options.take(key)
    if name is not None and re.fullmatch(r"discriminator_vgg_\d+", str(name)):
        options.put("critic.name", "vgg", key)
    elif name == "NLayerDiscriminator":
        options.put("critic.name", "patch", key)
        options.move("network_D.nlayer", "critic.layers")
    else:
        raise options.error(
            key, f"is {describe(name)}, expected discriminator_vgg_128 or NLayerDiscriminator"
        )
    options.move("network_D.nf", "critic.nf")
    options.read.add("network_D.in_nc")
    options.put("critic.norm", "group", key)
    options.note(key, "has batch norm, which couples the samples; it became norm: group")
