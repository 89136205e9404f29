"""Option files of RealSR and OTSR, turned into recipes of ours.

Both come from MMSR: YAML with the parts datasets, network_G, network_D, path, train and logger. What has a counterpart
is translated, everything else becomes a note. Each value keeps the line of theirs, so that errors lead to their file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from otsr.training.schema import ConfigError, Keys

_MOVES = {  # theirs: ours, where only the name differs
    "scale": "scale",
    "train.niter": "steps",
    "train.manual_seed": "seed",
    "path.pretrain_model_G": "start",
    "network_G.nf": "network.nf",
    "network_G.nb": "network.nb",
    "network_G.gc": "network.gc",
    "network_D.nf": "critic.nf",
    "network_D.nlayer": "critic.layers",
    "datasets.train.dataroot_GT": "data.hr",
    "datasets.train.dataroot_LQ": "data.lr",
    "datasets.train.GT_size": "data.crop",
    "datasets.train.batch_size": "data.batch",
    "datasets.train.n_workers": "data.workers",
    "datasets.val.dataroot_GT": "validation.hr",
    "datasets.val.dataroot_LQ": "validation.lr",
    "train.lr_G": "optimiser.lr",
    "train.lr_D": "optimiser.critic_lr",
    "train.lr_steps": "optimiser.schedule.milestones",
    "train.lr_gamma": "optimiser.schedule.factor",
    "train.pixel_weight": "losses.pixel.weight",
    "train.feature_weight": "losses.perceptual.weight",
    "train.edge_weight": "losses.edge.weight",
    "train.edge_type": "losses.edge.kind",
    "train.gan_weight": "losses.gan.weight",
    "train.gan_type": "losses.gan.kind",
    "train.D_update_ratio": "losses.gan.ratio",
    "train.D_init_iters": "losses.gan.start",
    "train.WQC_gamma": "losses.gan.gamma",
    "logger.print_freq": "every.log",
    "logger.save_checkpoint_freq": "every.checkpoint",
}
_REQUIRED: dict[str, tuple[Any, ...]] = {  # theirs: the values that hold here in any case; others are refused
    "distortion": ("sr",),
    "network_G.which_model_G": ("RRDBNet", "RRDB_net"),
    "network_G.in_nc": (3,),
    "network_G.out_nc": (3,),
    "train.lr_scheme": ("MultiStepLR",),
}
_SILENT = (
    "model", "use_tb_logger", "datasets.train.name", "datasets.train.use_shuffle", "datasets.val.name",
    "datasets.val.mode", "network_G.upscale", "network_D.in_nc", "path.root",
)  # fmt: skip
_LOST = "has no counterpart"
_NOTES: dict[str, tuple[str, tuple[Any, ...]]] = {  # theirs: a note, and the values that need none
    "datasets.train.mode": ("is read as LQGT, pairs of LR and HR", ("LQGT", "LRHR")),
    "datasets.train.color": (_LOST, ("RGB",)),
    "path.strict_load": (f"{_LOST}: weights must fit the network", (True,)),
    "train.pixel_criterion": ("is read as l1, the only one there is", ("l1",)),
    "train.feature_criterion": ("is read as l1, the only one there is", ("l1",)),
    "train.warmup_iter": (_LOST, (-1,)),
    "train.weight_decay_G": (_LOST, (0,)),
    "train.weight_decay_D": (_LOST, (0,)),
    "train.WQC_KCoef": (_LOST, (1,)),
    "gpu_ids": (f"{_LOST}: to use several devices, torchrun --nproc-per-node N -m otsr train ...", ()),
    "benckmark": ("has no effect in the original either (it is misspelt)", ()),
    "path.pretrain_model_D": (f"{_LOST}: the critic starts afresh", ()),
    "path.resume_state": (f"{_LOST}: their checkpoints cannot be resumed; ours can, with --resume", ()),
    "path.models": (f"{_LOST}: weights are kept in the run's folder", ()),
    "path.val_images": (f"{_LOST}: pictures are kept in TensorBoard", ()),
}
_BETAS = ("train.beta1_G", "train.beta2_G", "train.beta1_D", "train.beta2_D")


def recognised(values: dict[str, Any]) -> bool:
    """Whether these are options of RealSR, OTSR or another descendant of MMSR."""
    return "datasets" in values and any(key in values for key in ("network_G", "network_g"))


def translate(values: Keys) -> tuple[Keys, list[str]]:
    """Our values, at the places of theirs, and a note on each thing that is lost or changed. Raises ConfigError."""
    options = _Options(values)
    if "network_g" in values:
        raise options.error("network_g", "is from a later BasicSR; only options with network_G can be read")
    if not isinstance(values["datasets"], dict) or "train" not in values["datasets"]:
        words = "has no part `train`: this file is for testing; see otsr upscale --help"
        raise options.error("datasets", words)
    for key, expected in _REQUIRED.items():
        found = options.take(key)
        if found is not None and found not in expected:
            raise options.error(key, f"is {found!r}, expected {' or '.join(map(str, expected))}")
    adversarial = bool(options.values.get("train.gan_weight")) and options.values.get("model") != "sr"
    if not adversarial:
        of_critic = ("network_D.", "train.gan_", "train.D_", "train.WQC_")
        for key in [key for key in options.values if key.startswith(of_critic) or key.endswith("_D")]:
            options.take(key)
    _data(options)
    _training(options)
    if adversarial:
        _adversary(options)
    for theirs, ours in _MOVES.items():
        options.move(theirs, ours)
    for key, value in options.values.items():
        words, harmless = _NOTES.get(key, (_LOST, ()))
        if key not in _SILENT and value not in harmless:
            options.note(key, words)
    return options.ours, options.notes


class _Options:
    """Their options that are not read yet, by dotted names such as "train.lr_G", and the recipe that grows."""

    def __init__(self, theirs: Keys) -> None:
        self.theirs, self.ours = theirs, Keys(theirs.place)
        self.ours["losses"] = Keys()
        self.values: dict[str, Any] = {}
        self._flatten(theirs, "")
        self.notes: list[str] = []

    def _flatten(self, part: dict[str, Any], above: str) -> None:
        for name, value in part.items():
            if isinstance(value, dict):
                self._flatten(value, f"{above}{name}.")
            elif value is not None:
                self.values[f"{above}{name}"] = value

    def take(self, key: str, default: Any = None) -> Any:
        """Read a value of theirs; 5e3 is a whole number."""
        value = self.values.pop(key, default)
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) >= 1 else value

    def put(self, ours: str, value: Any, theirs: str) -> None:
        """Set one of our keys; errors about it lead to theirs."""
        part, (*above, last) = self.ours, ours.split(".")
        for name in above:
            part = part.setdefault(name, Keys())
        part[last], part.places[last] = value, self.place(theirs)

    def move(self, theirs: str, ours: str) -> None:
        """Give a value of theirs our name, if it is there and not read yet."""
        if theirs in self.values:
            self.put(ours, self.take(theirs), theirs)

    def place(self, key: str) -> str:
        return self.theirs.where(key.split("."))

    def note(self, key: str, words: str) -> None:
        self.notes.append(f"{self.place(key)}: {key} {words}")

    def error(self, key: str, words: str) -> ConfigError:
        return ConfigError(f"{self.place(key)}: {key} {words}")


def _data(options: _Options) -> None:
    train = "datasets.train"
    flips = [bool(options.take(f"{train}.{key}")) for key in ("use_flip", "use_rot")]
    if flips[0] != flips[1]:
        words = "and use_rot differ; flips and rotations go together here, and are on"
        options.note(f"{train}.use_flip", words)
    options.put("data.augment", any(flips), f"{train}.use_flip")
    if options.values.get(f"{train}.aug") == "noise" and f"{train}.noise_data" in options.values:
        # Their LR has no noise yet and gets some at each step: that is a degradation of ours, made from HR.
        file = f"{Path(options.take(f'{train}.noise_data')).name}.safetensors"
        for read in ("aug", "dataroot_LQ"):
            options.take(f"{train}.{read}")
        options.put("data.degradation", file, f"{train}.noise_data")
        words = f"became data.degradation: {file}; make it from the photos that the noise was cut from: otsr estimate"
        options.note(
            f"{train}.noise_data", f"{words} PHOTOS -o {file}. LR is made from HR, dataroot_LQ is not read"
        )
    for key in [key for key in options.values if ".dataroot_" in key]:
        if str(options.values[key]).rstrip("/").endswith("lmdb"):
            options.note(key, "is a store of theirs; make one of ours: otsr pack FOLDER -o STORE.lmdb")
    if "datasets.val.dataroot_GT" not in options.values:
        options.put("validation.images", 0, "datasets")


def _training(options: _Options) -> None:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(options.take("name", "original"))).strip("-._")[:80]
    options.put("name", name or "original", "name")
    options.put("network.name", "RRDBNet", "network_G.which_model_G")
    options.put("ema", 0, "name")  # theirs keep the weights of the last step
    for_critic = "train.beta1_D" in options.values
    betas = [options.take(key, (0.9, 0.999)[n % 2]) for n, key in enumerate(_BETAS)]
    options.put("optimiser.betas", betas[:2], _BETAS[0])
    if for_critic and betas[2:] != betas[:2]:
        words = f"and beta2_D are {betas[2:]}; both optimisers take {betas[:2]}, those of G"
        options.note("train.beta1_D", words)
    options.put("optimiser.schedule.kind", "multistep", "train.lr_scheme")
    if options.values.get("train.warmup_iter", -1) != -1:
        options.move("train.warmup_iter", "optimiser.schedule.warmup")
    validate = options.take("train.val_freq", 1000)
    for ours in ("every.validate", "every.pictures"):
        options.put(ours, validate, "train.val_freq")
    if options.values.get("train.feature_weight"):
        options.put("losses.perceptual.backbone", "vgg19", "train.feature_weight")
        options.put("losses.perceptual.layers.conv5_4", 1, "train.feature_weight")
        options.note("train.feature_weight", "is kept, but here features are divided by their mean size")
    if options.values.get("train.edge_type", "sobel") not in ("sobel", "canny"):
        kind = options.take("train.edge_type")
        options.note("train.edge_type", f"is {kind!r}, which is not here; sobel is taken")


def _adversary(options: _Options) -> None:
    key = "network_D.which_model_D"
    critic = str(options.take(key))
    if critic != "NLayerDiscriminator" and not re.fullmatch(r"discriminator_vgg_\d+", critic):
        raise options.error(key, f"is {critic!r}, expected discriminator_vgg_128 or NLayerDiscriminator")
    options.put("critic.name", "patch" if critic == "NLayerDiscriminator" else "vgg", key)
    options.put("critic.norm", "group", key)
    options.note(key, "has batch norm, which couples the samples; it became norm: group")
    if options.values.get("train.D_init_iters"):
        words = "became losses.gan.start: until then G learns from its other losses"
        options.note("train.D_init_iters", words)
    transport = options.values.get("train.gan_type") == "wgan-qc"
    if transport:
        stiffness = options.take("train.WQC_KCoef", 1)
        if stiffness != 1:
            crop = options.values.get("datasets.train.GT_size", 128)
            options.put("losses.gan.K", stiffness / (3 * crop**2), "train.WQC_KCoef")
        words = "is wgan-qc with exact labels; OTSR's are boxed into [0, 1], so always 1 and 0: expect other pictures"
        options.note("train.gan_type", words)
    if transport or "edge_type" in options.theirs["train"]:
        options.put("clip", 5.0, "train.gan_type")
        options.note("train", "does not say so, but OTSR's code clips G's gradient: clip: 5")
