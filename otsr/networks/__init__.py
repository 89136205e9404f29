"""Networks: generators that make pictures, critics that weigh them, features that compare them.

Names and sizes stand here, apart from torch, so that a recipe is checked without waiting for it.
"""

VGG_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions in each block
DEFAULT_LAYERS = {  # and their weights; of those that are no VGG these are all
    "alex": dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5"), 1.0),
    "vgg16": dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 1.0),
    "vgg19": {"conv5_4": 1.0},  # the paper's
    "patches": {"rgb": 1.0},
    "details": {"fine": 1.0, "coarse": 1.0},
}


def layer_names(backbone: str) -> list[str]:
    """The layers of a backbone, see `otsr.networks.perceptual`."""
    if backbone in VGG_BLOCKS:
        return [f"{kind}{place}" for place in vgg_places(VGG_BLOCKS[backbone]) for kind in ("conv", "relu")]
    return list(DEFAULT_LAYERS[backbone])


def vgg_places(blocks: tuple[int, ...]) -> list[str]:
    """1_1, 1_2, 2_1, … for each convolution of these blocks."""
    return [f"{block}_{i}" for block, depth in enumerate(blocks, 1) for i in range(1, depth + 1)]
