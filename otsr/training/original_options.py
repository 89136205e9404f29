"""Option files of RealSR and OTSR, turned into recipes of ours.

Both come from MMSR: YAML with the parts datasets, network_G, network_D, path, train and logger. What has a counterpart
is translated, everything else becomes a note. Each value keeps the line of theirs, so that errors lead to their file.
"""

import re
from pathlib import Path
from typing import Any

from otsr.training.schema import ConfigError, Keys, flat

_MOVES = {  # theirs: ours, where only the name differs
    "scale": "scale", "train.niter": "steps", "train.manual_seed": "seed", "path.pretrain_model_G": "start",
    "network_G.nf": "network.nf", "network_G.nb": "network.nb", "network_G.gc": "network.gc",
    "network_D.nf": "critic.nf", "network_D.nlayer": "critic.layers",
    "datasets.train.dataroot_GT": "data.hr", "datasets.train.dataroot_LQ": "data.lr",
    "datasets.train.GT_size": "data.crop", "datasets.train.batch_size": "data.batch",
    "datasets.train.n_workers": "data.workers", "datasets.train.use_flip": "data.augment",
    "datasets.val.dataroot_GT": "validation.hr", "datasets.val.dataroot_LQ": "validation.lr",
    "train.lr_G": "optimiser.lr", "train.lr_D": "optimiser.critic_lr",
    "train.lr_steps": "optimiser.schedule.milestones", "train.lr_gamma": "optimiser.schedule.factor",
    "train.pixel_weight": "losses.pixel.weight", "train.feature_weight": "losses.perceptual.weight",
    "train.edge_weight": "losses.edge.weight", "train.gan_weight": "losses.gan.weight",
    "train.gan_type": "losses.gan.kind", "train.WQC_gamma": "losses.gan.gamma",
    "train.D_update_ratio": "losses.gan.ratio", "train.D_init_iters": "losses.gan.start",
    "train.val_freq": "every.validate", "logger.print_freq": "every.log",
    "logger.save_checkpoint_freq": "every.checkpoint",
}  # fmt: skip
_REQUIRED: dict[str, tuple[Any, ...]] = {  # theirs: the values that hold here in any case; others are refused
    "distortion": ("sr",), "network_G.which_model_G": ("RRDBNet", "RRDB_net"), "network_G.in_nc": (3,),
    "network_G.out_nc": (3,), "train.lr_scheme": ("MultiStepLR",),
}  # fmt: skip
_FINE: dict[str, tuple[Any, ...]] = {  # theirs: the values that hold here in any case; others become a note
    "datasets.train.mode": ("LQGT", "LRHR"), "datasets.train.use_rot": (True,), "datasets.train.color": ("RGB",),
    "path.strict_load": (True,), "train.pixel_criterion": ("l1",), "train.feature_criterion": ("l1",),
    "train.edge_type": ("sobel",), "train.warmup_iter": (-1,), "train.weight_decay_G": (0,),
    "train.weight_decay_D": (0,), "train.WQC_KCoef": (1,), "train.beta1_D": (0.9,), "train.beta2_D": (0.999,),
}  # fmt: skip
_SILENT = (  # whatever they say
    "model", "use_tb_logger", "datasets.train.name", "datasets.train.use_shuffle", "datasets.val.name",
    "datasets.val.mode", "network_G.upscale", "network_D.in_nc", "path.root",
)  # fmt: skip
_WORDS = {  # notes that say more than "has no counterpart"
    "gpu_ids": "has no counterpart: to use several devices, torchrun --nproc-per-node N -m otsr train ...",
    "network_D.which_model_D": "has batch norm, which couples the samples; it became norm: spectral",
    "train.feature_weight": "is kept, but here features are divided by their mean size",
    "train.D_init_iters": "became losses.gan.start: until then G learns from its other losses",
}


def translate(values: Keys) -> tuple[Keys, list[str]]:
    """Our values, at the places of theirs, and a note on each thing that is lost or changed. Raises ConfigError."""
    options = _Options(values)
    left = options.left
    if not any(key.startswith("datasets.train.") for key in left):
        raise options.error("datasets", "has no part `train`: this file is for testing; see otsr upscale --help")
    for key, expected in _REQUIRED.items():
        if (found := left.pop(key, expected[0])) not in expected:
            raise options.error(key, f"is {found!r}, expected {' or '.join(map(str, expected))}")
    _generator(options)
    if left.get("train.gan_weight") and left.get("model") != "sr":
        _adversary(options)
    else:
        of_critic = ("network_D.", "train.gan_", "train.D_", "train.WQC_")
        for key in [key for key in left if key.startswith(of_critic) or key.endswith("_D")]:
            del left[key]
    for theirs, ours in _MOVES.items():
        if theirs in left:
            options.put(ours, left.pop(theirs), theirs)
    for key, value in left.items():
        if key not in _SILENT and value not in _FINE.get(key, ()):
            options.note(key, _WORDS.get(key, "has no counterpart"))
    return options.ours, options.notes


class _Options:
    """Their options that are `left` to read, by dotted names such as "train.lr_G", and the recipe that grows."""

    def __init__(self, theirs: Keys) -> None:
        self.theirs, self.ours, self.notes = theirs, Keys(theirs.place), list[str]()
        self.ours["losses"] = Keys()
        self.left = {key: _whole(value) for key, value in flat(theirs).items() if value is not None}

    def put(self, ours: str, value: Any, theirs: str) -> None:
        """Set one of our keys; errors about it lead to theirs. Whatever else that changes becomes a note."""
        part, (*above, last) = self.ours, ours.split(".")
        for name in above:
            part = part.setdefault(name, Keys())
        part[last], part.places[last] = value, self.theirs.where(theirs.split("."))
        if value and theirs in _WORDS:
            self.note(theirs, _WORDS[theirs])

    def note(self, key: str, words: str) -> None:
        self.notes.extend(self.error(key, words).problems)

    def error(self, key: str, words: str) -> ConfigError:
        return ConfigError(f"{self.theirs.where(key.split('.'))}: {key} {words}")


def _whole(value: Any) -> Any:
    """5e3 is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) >= 1 else value


def _generator(options: _Options) -> None:
    put, left = options.put, options.left
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(left.pop("name", "original"))).strip("-._")[:80]
    put("name", name or "original", "name")
    put("network.name", "RRDBNet", "network_G.which_model_G")
    put("ema", 0, "name")  # theirs keep the weights of the last step
    betas = [left.pop("train.beta1_G", 0.9), left.pop("train.beta2_G", 0.999)]
    put("optimiser.betas", betas, "train.beta1_G")  # the critic's too
    put("optimiser.schedule.kind", "multistep", "train.lr_scheme")
    if left.get("train.warmup_iter", -1) != -1:
        put("optimiser.schedule.warmup", left.pop("train.warmup_iter"), "train.warmup_iter")
    if left.get("train.feature_weight"):
        put("losses.perceptual.layers.conv5_4", 1, "train")
    noise = "datasets.train.noise_data"
    if left.get("datasets.train.aug") == "noise" and noise in left:
        # Their LR has no noise yet and gets some at each step: that is a degradation of ours, made from HR.
        file = f"{Path(left.pop(noise)).name}.safetensors"
        del left["datasets.train.aug"]
        left.pop("datasets.train.dataroot_LQ", None)
        put("data.degradation", file, noise)
        words = f"became data.degradation: {file}; make it from the photos that the noise was cut from: otsr estimate"
        options.note(noise, f"{words} PHOTOS -o {file}. LR is made from HR, dataroot_LQ is not read")
    if "datasets.val.dataroot_GT" not in left:
        put("validation.images", 0, "datasets")


def _adversary(options: _Options) -> None:
    key = "network_D.which_model_D"
    critic = str(options.left.pop(key, None))
    if critic != "NLayerDiscriminator" and not re.fullmatch(r"discriminator_vgg_\d+", critic):
        raise options.error(key, f"is {critic!r}, expected discriminator_vgg_128 or NLayerDiscriminator")
    options.put("critic.name", "patch" if critic == "NLayerDiscriminator" else "vgg", key)
    options.put("critic.norm", "spectral", "network_D")
    transport = options.left.get("train.gan_type") == "wgan-qc"
    if transport:
        words = "is wgan-qc with exact labels; OTSR's are boxed into [0, 1], so always 1 and 0: expect other pictures"
        options.note("train.gan_type", words)
    if transport or "train.edge_type" in options.left:
        options.put("clip", 5.0, "train.gan_type")
        options.note("train", "does not say so, but OTSR's code clips G's gradient: clip: 5")
