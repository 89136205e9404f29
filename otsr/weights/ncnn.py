"""ncnn's `.param` (the graph, text) and `.bin` (the numbers) to an RRDBNet.

RealSR and Real-ESRGAN share one graph, and Real-ESRGAN's network for anime is a shorter one. Only a file whose graph
is one of these is read: its numbers then go into the network in the file's order.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from otsr.networks.generators import RRDBNet
from otsr.weights.layouts import WeightsError, fill

MAGIC = b"7767517"
GRAPHS = {  # `_graph` of the file to the number of blocks
    "da3397389bffc1f16021e54c4d6e9db20660b3cc513236897ce86bd72410aa24": 23,
    "d6b8c61e089b1b2c0425d99b6b6fb3f299e42842a90f1a8151e4af4a580bd836": 6,
}
_PRECISIONS = {0x01306B47: "<f2", 0: "<f4"}  # of a convolution's weights, by the tag before them
_MAX_TEXT = 16 << 20


def read(param: Path, weights: Path) -> RRDBNet:
    """The RRDBNet that a pair of ncnn files holds, in eval mode, float32.

    Raises WeightsError: a file of the pair is missing, damaged, or for another network.
    """
    for path in (param, weights):
        if not path.is_file():
            pair = f"an ncnn model is a pair {param.name} + {weights.name}"
            raise WeightsError(f"{path.name}: no such file; {pair}")
    blocks = GRAPHS.get(_graph(param))
    if blocks is None:
        raise WeightsError("its layers are not those of RealSR's or Real-ESRGAN's ×4 networks for ncnn")
    with torch.device("meta"):
        network = RRDBNet(nb=blocks)
    return fill(network, _numbers(weights, network))  # type: ignore[return-value]


def _graph(path: Path) -> str:
    """SHA-256 of the layers in the file's order: kind, what they read and write, options.

    A name stands as the place of its first mention, and a number as its value, however it is written.
    """
    if path.stat().st_size > _MAX_TEXT:
        raise WeightsError("too large for a graph in text")
    magic, count, *lines = [*path.read_text("ascii", errors="replace").splitlines(), "", ""]
    if magic.strip() != MAGIC.decode():
        raise WeightsError(f"begins with {magic[:40]!r}, expected ncnn's text ({MAGIC.decode()})")
    layers = []
    names: dict[str, int] = {}
    try:
        for line in filter(str.strip, lines):
            kind, _, ins, outs, *rest = line.split()
            blobs = [names.setdefault(name, len(names)) for name in rest[: int(ins) + int(outs)]]
            # k=v, or an array as -23300-k=n,v,v…
            options = [option.split("=") for option in rest[len(blobs) :]]
            values = sorted((int(key), [float(value) for value in text.split(",")]) for key, text in options)
            layers.append((kind, int(ins), blobs, values))
        whole = len(layers) == int(count.split()[0])
    except (ValueError, IndexError):
        whole = False
    if not whole:
        raise WeightsError(f"damaged behind its layer {len(layers)}; fetch it again")
    return hashlib.sha256(repr(layers).encode()).hexdigest()


def _numbers(path: Path, network: RRDBNet) -> dict[str, Tensor]:
    """Per convolution: a tag, the weights (fp16 or fp32), the bias (fp32)."""
    size = path.stat().st_size
    tensors = {}
    with path.open("rb") as file:

        def take(kind: str, count: int) -> np.ndarray:
            found = np.fromfile(file, kind, count)
            if len(found) < count:
                raise WeightsError(f"{path.name} ends at byte {size} inside {name}: truncated")
            return found

        for name, module in network.named_modules():
            if not isinstance(module, nn.Conv2d):
                continue
            tag = int(take("<u4", 1)[0])
            if tag not in _PRECISIONS:
                raise WeightsError(f"{path.name}: {name} has tag {tag:#010x}, not that of fp16 or fp32")
            weight = take(_PRECISIONS[tag], module.weight.numel()).astype("f4")
            tensors[f"{name}.weight"] = torch.from_numpy(weight).view(module.weight.shape)
            tensors[f"{name}.bias"] = torch.from_numpy(take("<f4", module.out_channels).astype("f4"))
        if left := size - file.tell():
            raise WeightsError(f"{path.name}: {left} bytes are left over; it belongs to another .param")
    return tensors
