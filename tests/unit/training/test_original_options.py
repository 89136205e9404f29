"""Option files of RealSR and OTSR become recipes, with the paper's numbers, and what is lost is listed.

The files here are written for the tests, with the keys that the files of those projects have.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from otsr.training import Config, ConfigError, load_config
from otsr.training.recipe import dump

OTSR = """\
name: DPED kernel/noise
use_tb_logger: true
model: srgan
distortion: sr
scale: 4
gpu_ids: [3, 2]
datasets:
  train:
    name: train
    mode: LQGT
    aug: noise
    noise_data: ../sets/iphone_noise/
    dataroot_GT: ../sets/HR
    dataroot_LQ: ../sets/LR
    use_shuffle: true
    n_workers: 8
    batch_size: 45
    GT_size: 128
    use_flip: true
    use_rot: true
    color: RGB
  val:
    name: val
    mode: LQGT
    dataroot_GT: ../sets/valid/HR
    dataroot_LQ: ../sets/valid/LR
network_G:
  which_model_G: RRDBNet
  in_nc: 3
  out_nc: 3
  nf: 64
  nb: 23
network_D:
  which_model_D: discriminator_vgg_128
  in_nc: 3
  nf: 64
path:
  pretrain_model_G: ../weights/DF2K.pth
  strict_load: true
  resume_state: ~
  models: ../train_model
  val_images:
train:
  lr_G: !!float 1e-4
  weight_decay_G: 0
  beta1_G: 0.9
  beta2_G: 0.999
  lr_D: !!float 2e-4
  weight_decay_D: 0
  beta1_D: 0.9
  beta2_D: 0.999
  lr_scheme: MultiStepLR
  niter: 40001
  warmup_iter: -1
  lr_steps: [10000, 20000, 30000, 30000]
  lr_gamma: 0.5
  pixel_criterion: l1
  pixel_weight: !!float 1e-2
  feature_criterion: l1
  feature_weight: 0.7
  gan_type: wgan-qc
  gan_weight: !!float 1
  D_update_ratio: 1
  D_init_iters: 0
  manual_seed: 10
  val_freq: !!float 5e3
  WQC_KCoef: 1
  WQC_gamma: 0.40
  edge_type: sobel
  edge_weight: !!float 1e-2
logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
"""

REALSR = OTSR.replace("discriminator_vgg_128", "NLayerDiscriminator\n  nlayer: 3")
REALSR = REALSR.replace("gan_type: wgan-qc", "gan_type: ragan").replace(
    "gan_weight: !!float 1\n", "gan_weight: 5e-3\n"
)
for _line in (
    "  WQC_KCoef: 1\n",
    "  WQC_gamma: 0.40\n",
    "  edge_type: sobel\n",
    "  edge_weight: !!float 1e-2\n",
):
    REALSR = REALSR.replace(_line, "")


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def line_of(words: str) -> int:
    """Where they stand in OTSR."""
    return OTSR[: OTSR.index(words)].count("\n") + 1


def convert(folder: Path, text: str, *overrides: str) -> Config:
    path = folder / "theirs.yml"
    path.write_text(text)
    return load_config(path, overrides)


def note(config: Config, key: str) -> str:
    return next((line for line in config.notes if f": {key} " in line), "")


def test_the_papers_options_become_the_papers_recipe(tmp_path: Path) -> None:
    config = convert(tmp_path, OTSR)
    assert config.name == "DPED-kernel-noise"
    assert (config.seed, config.scale, config.steps, config.clip, config.ema) == (10, 4, 40001, 5, 0)
    assert config.architecture == {
        "name": "RRDBNet",
        "nf": 64,
        "nb": 23,
        "gc": 32,
        "unshuffle": 1,
        "scale": 4,
    }
    assert config.start == "../weights/DF2K.pth"
    assert config.data.hr == ("../sets/HR",) and config.data.lr is None
    assert (config.data.crop, config.data.batch, config.data.workers, config.data.augment) == (
        128,
        45,
        8,
        True,
    )
    assert config.data.degradation == "iphone_noise.safetensors" and config.data.cleanup == 1
    assert config.validation.hr == ("../sets/valid/HR",) and config.validation.lr == "../sets/valid/LR"
    assert (config.optimiser.lr, config.optimiser.critic_lr, config.optimiser.betas) == (
        1e-4,
        2e-4,
        (0.9, 0.999),
    )
    schedule = config.optimiser.schedule
    assert (schedule.kind, schedule.factor, schedule.warmup) == ("multistep", 0.5, 0)
    assert schedule.milestones == (10000, 20000, 30000, 30000)
    losses = config.losses
    assert (losses.pixel.weight, losses.perceptual.weight, losses.edge.weight) == (0.01, 0.7, 0.01)
    assert (losses.perceptual.backbone, losses.perceptual.layers) == ("vgg19", {"conv5_4": 1})
    gan = losses.gan
    assert (gan.weight, gan.kind, gan.gamma, gan.K, gan.ratio, gan.start) == (1, "wgan-qc", 0.4, None, 1, 0)
    assert (gan.reals, gan.space) == ("paired", "images") and losses.transport.weight == 0
    assert config.critic is not None
    assert (config.critic.name, config.critic.nf, config.critic.norm) == ("vgg", 64, "spectral")
    assert (config.every.validate, config.every.checkpoint, config.every.log) == (5000, 5000, 100)


def test_realsrs_options_become_its_recipe(tmp_path: Path) -> None:
    config = convert(tmp_path, REALSR)
    assert (config.losses.gan.kind, config.losses.gan.weight, config.losses.edge.weight) == (
        "ragan",
        0.005,
        0,
    )
    assert config.critic is not None and (config.critic.name, config.critic.layers) == ("patch", 3)
    assert config.clip is None


def test_exactly_what_is_lost_or_changed_is_listed_with_its_line(tmp_path: Path) -> None:
    config = convert(tmp_path, OTSR)
    keys = [line.split(": ", 1)[1].split(" ")[0] for line in config.notes]
    assert sorted(keys) == sorted(
        [
            "datasets.train.noise_data",
            "train.feature_weight",
            "train.gan_type",
            "train",
            "network_D.which_model_D",
            "gpu_ids",
            "path.models",
        ]
    )
    for key in ("gpu_ids", "datasets.train.noise_data", "path.models", "train.gan_type"):
        line = line_of(f"{key.split('.')[-1]}:")
        assert note(config, key).startswith(f"{tmp_path / 'theirs.yml'}:{line}: ")
    assert "otsr estimate" in note(config, "datasets.train.noise_data")
    assert "torchrun" in note(config, "gpu_ids")


def test_the_translation_is_a_recipe_of_ours(tmp_path: Path) -> None:
    config = convert(tmp_path, OTSR)
    (tmp_path / "ours.yml").write_text(dump(config))
    ours = load_config(tmp_path / "ours.yml")
    assert ours == config and ours.notes == ()


def test_without_noise_their_pairs_are_read(tmp_path: Path) -> None:
    config = convert(tmp_path, changed(OTSR, ("    aug: noise\n", "")))
    assert config.data.lr == "../sets/LR" and config.data.degradation is None
    assert "has no counterpart" in note(config, "datasets.train.noise_data")


def test_a_model_without_adversary_has_no_critic(tmp_path: Path) -> None:
    config = convert(tmp_path, changed(OTSR, ("model: srgan", "model: sr")))
    assert config.critic is None and config.losses.gan.weight == 0
    assert config.losses.pixel.weight == 0.01


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("scale: 4", "scale: 4\nniqe: true", "niqe", "no counterpart"),
        ("edge_type: sobel", "edge_type: hednet", "train.edge_type", "no counterpart"),
        ("pixel_criterion: l1", "pixel_criterion: l2", "train.pixel_criterion", "no counterpart"),
        ("color: RGB", "color: Lab", "datasets.train.color", "no counterpart"),
        ("use_rot: true", "use_rot: false", "datasets.train.use_rot", "no counterpart"),
        ("mode: LQGT", "mode: LWGT", "datasets.train.mode", "no counterpart"),
        ("beta1_D: 0.9", "beta1_D: 0.5", "train.beta1_D", "no counterpart"),
        ("weight_decay_D: 0", "weight_decay_D: 1e-4", "train.weight_decay_D", "no counterpart"),
        ("resume_state: ~", "resume_state: a.state", "path.resume_state", "no counterpart"),
        ("strict_load: true", "strict_load: false", "path.strict_load", "no counterpart"),
        ("D_init_iters: 0", "D_init_iters: 100", "train.D_init_iters", "losses.gan.start"),
        ("WQC_KCoef: 1", "WQC_KCoef: 2", "train.WQC_KCoef", "no counterpart"),
        ("lr_gamma: 0.5", "lr_gamma: 0.5\n  restarts: [1]", "train.restarts", "no counterpart"),
        ("nf: 64", "nf: 64\n  group: 1", "network_G.group", "no counterpart"),
    ],
)
def test_what_is_lost_is_told(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    assert words in note(convert(tmp_path, changed(OTSR, (old, new))), key)


def test_the_adversary_keeps_its_rhythm(tmp_path: Path) -> None:
    changes = ("D_init_iters: 0", "D_init_iters: 100"), ("D_update_ratio: 1", "D_update_ratio: 2")
    gan = convert(tmp_path, changed(OTSR, *changes, ("warmup_iter: -1", "warmup_iter: 7"))).losses.gan
    assert (gan.start, gan.ratio) == (100, 2)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("which_model_G: RRDBNet", "which_model_G: MSRResNet", "network_G.which_model_G is 'MSRResNet'"),
        ("in_nc: 3", "in_nc: 1", "network_G.in_nc is 1, expected 3"),
        ("discriminator_vgg_128", "UNet", "network_D.which_model_D is 'UNet'"),
        ("MultiStepLR", "StepLR", "train.lr_scheme is 'StepLR'"),
        ("distortion: sr", "distortion: deblur", "distortion is 'deblur'"),
        ("datasets:\n  train:", "datasets:\n  test_1:", "datasets has no part `train`"),
        ("batch_size: 45", "batch_size: x", "data.batch is 'x' (text)"),
        ("GT_size: 128", "GT_size: 126", "data.crop is 126, expected a multiple of the scale"),
        ("gan_type: wgan-qc", "gan_type: lsgan", "losses.gan.kind is 'lsgan'"),
        ("niter: 40001", "niter: 1.5", "steps is 1.5"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_named_with_their_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = changed(OTSR, (old, new))
    with pytest.raises(ConfigError) as caught:
        convert(tmp_path, text)
    assert f"{tmp_path / 'theirs.yml'}:{line_of(old)}: {words}" in str(caught.value)
