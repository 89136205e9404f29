"""A generator as an ONNX file, which runs without Python, PyTorch, or this package: on phones, in browsers, in C++."""

import copy
import os
import warnings

import torch
from torch import nn

from otsr.images import atomic_path
from otsr.networks.generators import Compact


def export_onnx(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a network's graph and weights, in float32, to one ONNX file; atomically.

    The file takes `lr`, float32 (batch, 3, height, width) in [0, 1], of any size, and gives `sr`, (batch, 3, s·height,
    s·width), not clipped: the network alone. Tiles, clipping and 8 bits are the caller's.

    Raises:
        ValueError: the network enlarges its input by MATLAB's bicubic, for which ONNX has no operator.
    """
    if isinstance(network, Compact) and network.base == "bicubic":
        reason = "ONNX has no operator for MATLAB's bicubic; train a Compact with base nearest"
        raise ValueError(f"a Compact network with base bicubic cannot be exported: {reason}")
    plain = copy.deepcopy(network).cpu().float().eval()
    example = torch.zeros(1, 3, 24, 32)  # what the graph is traced with; any other size works too
    free = {"lr": {0: "batch", 2: "height", 3: "width"}, "sr": {0: "batch", 2: "sr_height", 3: "sr_width"}}
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # By tracing: the newer exporter of PyTorch needs one more package, and ten times as long for the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            plain, (example,), str(temporary), dynamo=False, input_names=["lr"], output_names=["sr"],
            dynamic_axes=free, opset_version=17,  # of 2022: every runtime in use knows it
        )  # fmt: skip
