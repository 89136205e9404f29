"""What authors call the layers: tensors of any known layout to a network of ours.

The same RRDBNet comes as `model.1.sub.0.RDB1.conv1.0.weight` (ESRGAN 2018), `RRDB_trunk.0.RDB1.conv1.weight`
(ESRGAN, RealSR, OTSR) and `body.0.rdb1.conv1.weight` (BasicSR, Real-ESRGAN), bare or inside `params_ema` and the
like. Nothing but names differs. Its size is read off the shapes.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from otsr.networks.generators import Compact, RRDBNet, build

MAX_BYTES = 2 << 30
"""No generator comes near 2 GiB; a file that does, or that unpacks to that, is not opened."""

_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "generator", "model")
_PREFIXES = ("module.", "generator.", "netG.", "model_ema.")
_DENSE = r"(?:RRDB_trunk|body|model\.1\.sub)\.(\d+)\.[Rr][Dd][Bb]([123])\.conv([1-5])(?:\.0)?"
_RENAMES: tuple[tuple[str, str], ...] = (  # ESRGAN's `model.N` after the trunk depend on the scale, ×1 to ×8
    (r"conv_first|model\.0", "first"),
    (_DENSE, "trunk.{0}.blocks.{1}.convolutions.{2}"),
    (r"trunk_conv|conv_body|model\.1\.sub\.\d+", "trunk_last"),
    (r"(?:upconv|conv_up)(\d+)", "enlarge.{0}"),
    (r"model\.3", "enlarge.1"),
    (r"model\.6", "enlarge.2"),
    (r"model\.9", "enlarge.3"),
    (r"HRconv|conv_hr|model\.(?:2|5|8|11)", "hr"),
    (r"conv_last|model\.(?:4|7|10|13)", "last"),
)
_ONE_BASED = re.compile(r"(?<=blocks\.)\d|(?<=convolutions\.)\d|(?<=enlarge\.)\d+")


class WeightsError(ValueError):
    """Weights that cannot be had, read or used."""


def network_from(state: Any, architecture: Any = None) -> RRDBNet | Compact:
    """The generator, in eval mode and float32, that holds these tensors by name, in any known layout and wrapping.

    `architecture` is what `build` takes, if the file says it; otherwise it is read off the shapes.
    """
    tensors = _renamed(_unwrapped(state))
    architecture = _architecture(tensors) if architecture is None else architecture
    if not isinstance(architecture, dict):
        raise WeightsError(f"its architecture is a {type(architecture).__name__}, expected a JSON object")
    try:
        with torch.device("meta"):
            network = build(architecture)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    return fill(network, tensors)


def fill(network: RRDBNet | Compact, tensors: Mapping[str, Tensor]) -> RRDBNet | Compact:
    """Give a network its tensors, after checking that they are the right ones."""
    wanted = network.state_dict()
    kind = " ".join(str(value) for value in network.architecture.values())
    for problem, names in (
        ("lacks", [name for name in wanted if name not in tensors]),
        ("also has", [name for name in tensors if name not in wanted]),
        ("has in another shape", [k for k in wanted if k in tensors and wanted[k].shape != tensors[k].shape]),
    ):
        if names:
            raise WeightsError(f"for {kind} it {problem} {_some(names)}; damaged, or an unknown variant")
    state = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise WeightsError(f"{name} holds {tensor.dtype}, expected floating-point numbers")
        state[name] = torch.empty(tensor.shape).copy_(tensor)  # own memory: not a view into a mapped file
        if not state[name].isfinite().all():
            raise WeightsError(f"{name} holds NaN or infinity; damaged, or of a training that diverged")
    network.load_state_dict(state, assign=True)
    return network.eval()


def _unwrapped(state: Any) -> dict[str, Tensor]:
    """The tensors, out of wrappers and without the prefixes that DataParallel and GAN classes add."""
    for _ in _WRAPPERS:  # not without end: a file may hold a mapping that holds itself
        state = next((state[k] for k in _WRAPPERS if isinstance(state, Mapping) and k in state), state)
    if not isinstance(state, Mapping):
        raise WeightsError(f"holds one {type(state).__name__}, expected tensors by name")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"holds no tensors but {_some(map(str, state))}")
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > MAX_BYTES:
        raise WeightsError(f"its tensors take more than {MAX_BYTES >> 30} GiB")
    while prefix := next((p for p in _PREFIXES if any(key.startswith(p) for key in tensors)), None):
        tensors = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    return tensors


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names where a layout is recognised; other names stay, so that messages show what the file says."""
    renamed = {}
    for key, tensor in tensors.items():
        stem, _, leaf = key.rpartition(".")
        for pattern, ours in _RENAMES:
            if match := re.fullmatch(pattern, stem):
                stem = _ONE_BASED.sub(lambda number: str(int(number[0]) - 1), ours.format(*match.groups()))
                break
        renamed[f"{stem}.{leaf}"] = tensor
    return renamed


def _architecture(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read off names and shapes; where they are inconsistent `fill` will say so."""
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}

    def numbers(pattern: str) -> list[int]:
        return [int(match[1]) for key in tensors if (match := re.match(pattern, key))]

    first = shapes.get("first.weight", ())
    dense = shapes.get("trunk.0.blocks.0.convolutions.0.weight", ())
    if len(first) == len(dense) == 4:
        unshuffle = {3: 1, 12: 2, 48: 4}.get(first[1], 0)
        if not unshuffle:
            raise WeightsError(f"an RRDBNet for {first[1]} channels, not for colour pictures (3)")
        scale = 2 ** len(numbers(r"enlarge\.(\d+)\.weight")) // unshuffle
        if scale not in (2, 4):
            raise WeightsError(f"an RRDBNet that enlarges ×{scale}")
        sizes = {"nf": first[0], "nb": max(numbers(r"trunk\.(\d+)\.")) + 1, "gc": dense[0]}
        return {"name": "RRDBNet", **sizes, "scale": scale, "unshuffle": unshuffle}
    first = shapes.get("body.0.weight", ())
    if len(first) == 4 and first[1] == 3 and shapes.get("body.1.weight") == first[:1]:
        last = max(numbers(r"body\.(\d+)\.weight"))
        scale = round((shapes[f"body.{last}.weight"][0] / 3) ** 0.5)
        return {"name": "Compact", "nf": first[0], "nb": last // 2 - 1, "scale": scale, "base": "nearest"}
    raise WeightsError(f"holds {len(tensors)} tensors ({_some(tensors)})")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
