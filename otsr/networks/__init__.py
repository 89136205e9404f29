"""Networks: generators that make pictures, critics that weigh them, features that compare them.

Names and sizes stand here, apart from torch, so that a recipe is checked without waiting for it.
"""

VGG_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions in each block


def layer_names(backbone: str) -> list[str]:
    """The layers of a backbone, see `otsr.networks.perceptual`."""
    if backbone in VGG_BLOCKS:
        return [f"{kind}{place}" for place in vgg_places(VGG_BLOCKS[backbone]) for kind in ("conv", "relu")]
    others = {"alex": [f"conv{i}" for i in range(1, 6)], "patches": ["rgb"], "details": ["fine", "coarse"]}
    return others[backbone]


def vgg_places(blocks: tuple[int, ...]) -> list[str]:
    """1_1, 1_2, 2_1, … for each convolution of these blocks."""
    return [f"{block}_{i}" for block, depth in enumerate(blocks, 1) for i in range(1, depth + 1)]
