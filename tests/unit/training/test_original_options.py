"""Option files of RealSR and OTSR become recipes, with the paper's numbers, and what is lost is listed.

The files here are written for the tests, with the keys that the files of those projects have.
"""

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
    {name: train, mode: LQGT, aug: noise,
    noise_data: ../sets/iphone_noise/,
    dataroot_GT: ../sets/HR, dataroot_LQ: ../sets/LR, use_shuffle: true, n_workers: 8,
    batch_size: 45,
    GT_size: 128, use_flip: true, use_rot: true, color: RGB}
  val: {name: val, mode: LQGT, dataroot_GT: ../sets/valid/HR, dataroot_LQ: ../sets/valid/LR}
network_G:
  {which_model_G: RRDBNet,
  in_nc: 3, out_nc: 3, nf: 64, nb: 23}
network_D: {which_model_D: discriminator_vgg_128, in_nc: 3, nf: 64}
path:
  {pretrain_model_G: ../weights/DF2K.pth, strict_load: true, resume_state: ~,
  models: ../train_model, val_images: }
train:
  {lr_G: !!float 1e-4, weight_decay_G: 0, beta1_G: 0.9, beta2_G: 0.999,
  lr_D: !!float 2e-4, weight_decay_D: 0, beta1_D: 0.9, beta2_D: 0.999,
  lr_scheme: MultiStepLR, niter: 40001, warmup_iter: -1,
  lr_steps: [10000, 20000, 30000, 30000], lr_gamma: 0.5,
  pixel_criterion: l1, pixel_weight: !!float 1e-2, feature_criterion: l1, feature_weight: 0.7,
  gan_type: wgan-qc,
  gan_weight: !!float 1, D_update_ratio: 1, D_init_iters: 0, manual_seed: 10, val_freq: !!float 5e3,
  WQC_KCoef: 1, WQC_gamma: 0.40, edge_type: sobel, edge_weight: !!float 1e-2}
logger: {print_freq: 100, save_checkpoint_freq: !!float 5e3}
"""

REALSR = """\
name: DF2K
model: srgan
scale: 4
datasets:
  train: {mode: LQGT, dataroot_GT: hr, dataroot_LQ: lr, GT_size: 128, batch_size: 16}
network_G: {which_model_G: RRDBNet, nf: 64, nb: 23}
network_D: {which_model_D: NLayerDiscriminator, nf: 64, nlayer: 3}
train: {niter: 60001, lr_steps: [5000], pixel_weight: 1e-2, feature_weight: 1, gan_type: ragan, gan_weight: 5e-3}
"""

# What OTSR's file says, in our words.
OURS = """\
name: DPED-kernel-noise
seed: 10
scale: 4
steps: 40001
network: {name: RRDBNet, nf: 64, nb: 23, gc: 32}
start: ../weights/DF2K.pth
ema: 0
clip: 5
data: {hr: ../sets/HR, degradation: iphone_noise.safetensors, crop: 128, batch: 45, workers: 8, augment: true}
validation: {hr: ../sets/valid/HR, lr: ../sets/valid/LR}
optimiser:
  {lr: 1e-4, critic_lr: 2e-4, betas: [0.9, 0.999],
  schedule: {kind: multistep, milestones: [10000, 20000, 30000, 30000], factor: 0.5, warmup: 0}}
losses:
  pixel: {weight: 0.01}
  perceptual: {weight: 0.7, backbone: vgg19, layers: {conv5_4: 1}}
  edge: {weight: 0.01}
  gan: {weight: 1, kind: wgan-qc, gamma: 0.4, reals: paired, space: images, ratio: 1, start: 0}
critic: {name: vgg, nf: 64, norm: spectral}
every: {validate: 5000, checkpoint: 5000, log: 100}
"""


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def line_of(words: str) -> int:
    """Where they stand in OTSR."""
    return OTSR[: OTSR.index(words)].count("\n") + 1


def convert(folder: Path, text: str) -> Config:
    path = folder / "theirs.yml"
    path.write_text(text)
    return load_config(path)


def note(config: Config, key: str) -> str:
    return next((line for line in config.notes if f": {key} " in line), "")


def test_the_papers_options_become_the_papers_recipe_which_is_read_again(tmp_path: Path) -> None:
    config = convert(tmp_path, OTSR)
    assert config == convert(tmp_path, OURS)
    again = convert(tmp_path, dump(config))
    assert again == config and again.notes == ()


def test_realsrs_options_become_its_recipe(tmp_path: Path) -> None:
    config = convert(tmp_path, REALSR)
    gan, critic = config.losses.gan, config.critic
    assert critic is not None and (critic.name, critic.layers) == ("patch", 3)
    assert (gan.kind, gan.weight, config.losses.edge.weight, config.clip) == ("ragan", 0.005, 0, None)
    assert config.data.lr == "lr" and config.validation.images == 0


def test_exactly_what_is_lost_or_changed_is_listed_with_its_line(tmp_path: Path) -> None:
    config = convert(tmp_path, OTSR)
    with_line = ["gpu_ids", "datasets.train.noise_data", "path.models", "train.gan_type"]
    keys = [*with_line, "network_D.which_model_D", "train", "train.feature_weight"]
    assert sorted(line.split(": ", 1)[1].split(" ")[0] for line in config.notes) == sorted(keys)
    for key in with_line:
        line = line_of(f"{key.split('.')[-1]}:")
        assert note(config, key).startswith(f"{tmp_path / 'theirs.yml'}:{line}: ")
    assert "otsr estimate" in note(config, "datasets.train.noise_data")
    assert "torchrun" in note(config, "gpu_ids")


def test_without_noise_their_pairs_are_read_and_without_an_adversary_there_is_no_critic(
    tmp_path: Path,
) -> None:
    config = convert(tmp_path, changed(OTSR, (" aug: noise,", ""), ("model: srgan", "model: sr")))
    assert config.data.lr == "../sets/LR" and config.data.degradation is None
    assert "has no counterpart" in note(config, "datasets.train.noise_data")
    assert (config.critic, config.losses.gan.weight, config.losses.pixel.weight) == (None, 0, 0.01)


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    changes = {
        "niqe": ("scale: 4", "scale: 4\nniqe: true"),
        "train.edge_type": ("edge_type: sobel", "edge_type: hednet"),
        "datasets.train.use_rot": ("use_rot: true", "use_rot: false"),
        "path.resume_state": ("resume_state: ~", "resume_state: a.state"),
        "train.WQC_KCoef": ("WQC_KCoef: 1", "WQC_KCoef: 2"),
        "network_G.group": ("nf: 64", "nf: 64, group: 1"),
    }
    config = convert(tmp_path, changed(OTSR, *changes.values()))
    assert all("has no counterpart" in note(config, key) for key in changes)


def test_the_adversary_keeps_its_rhythm_and_the_generator_its_warm_up(tmp_path: Path) -> None:
    changes = [("D_init_iters: 0", "D_init_iters: 100"), ("D_update_ratio: 1", "D_update_ratio: 2")]
    config = convert(tmp_path, changed(OTSR, *changes, ("warmup_iter: -1", "warmup_iter: 7")))
    assert (config.losses.gan.start, config.losses.gan.ratio, config.optimiser.schedule.warmup) == (100, 2, 7)
    assert "losses.gan.start" in note(config, "train.D_init_iters")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("which_model_G: RRDBNet", "which_model_G: MSRResNet", "network_G.which_model_G is 'MSRResNet'"),
        ("in_nc: 3", "in_nc: 1", "network_G.in_nc is 1, expected 3"),
        ("discriminator_vgg_128", "UNet", "network_D.which_model_D is 'UNet'"),
        ("MultiStepLR", "StepLR", "train.lr_scheme is 'StepLR'"),
        ("datasets:\n  train:", "datasets:\n  test_1:", "datasets has no part `train`"),
        ("batch_size: 45", "batch_size: x", "data.batch is 'x' (text)"),
        ("GT_size: 128", "GT_size: 126", "data.crop is 126, expected a multiple of the scale"),
        ("gan_type: wgan-qc", "gan_type: lsgan", "losses.gan.kind is 'lsgan'"),
        ("niter: 40001", "niter: 1.5", "steps is 1.5"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_named_with_their_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = changed(OTSR, (old, new))
    with pytest.raises(ConfigError) as caught:
        convert(tmp_path, text)
    assert f"{tmp_path / 'theirs.yml'}:{line_of(old)}: {words}" in str(caught.value)
