"""ncnn's `.param` (the graph, text) and `.bin` (the numbers) to an RRDBNet.

The graph is followed, not believed: every convolution must read what the same one in an RRDBNet reads, with the same
activations and residual weights. Only then its numbers go into the network.

Values are compared in a normal form: a sum of atoms with coefficients, an atom being the input or the result of a
non-linear or convolutional layer. So it does not matter how a converter split sums, products and copies into layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from otsr.networks.generators import RRDBNet
from otsr.weights.errors import WeightsError
from otsr.weights.layouts import fill

MAGIC = b"7767517"
_FP16, _FP32 = 0x01306B47, 0
_MAX_TEXT = 16 << 20
_CONVOLUTION = {1: 3, 2: 1, 3: 1, 4: 1, 5: 1, 7: 1, 8: 0, 11: 3, 12: 1, 13: 1, 14: 1, 15: 1, 16: 1}
"""Options of a 3×3 convolution that keeps the size and has a bias: key → value; others must be absent or equal."""

Value: TypeAlias = "tuple[tuple[int, Fraction], ...]"
"""Σ coefficient · atom, sorted by atom; exact, so that equal sums compare equal."""


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[int, list[float]]

    def option(self, key: int, default: float) -> float:
        return self.options.get(key, [default])[0]


class _Atoms:
    """Numbers atoms: the same description, the same number."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}

    def value(self, *description: object) -> Value:
        return ((self._numbers.setdefault(description, len(self._numbers)), Fraction(1)),)


def read(param: Path, weights: Path) -> RRDBNet:
    """The RRDBNet that a pair of ncnn files holds, in eval mode, float32.

    Raises:
        WeightsError: a file of the pair is missing, damaged, longer or shorter than the graph says, or the graph is not
            an RRDBNet.
    """
    for path in (param, weights):
        if not path.is_file():
            raise WeightsError(f"{path}: no such file; an ncnn model is a pair {param.name} + {weights.name}")
    layers = _parse(param)
    atoms = _Atoms()
    convolutions, reads, output = _follow(layers, atoms, param)
    with torch.device("meta"):
        network = _network(layers, convolutions, param)
    for i, (expected, found) in enumerate(zip(_reference(network, atoms), [*reads, output], strict=True)):
        if expected != found:
            where = f"convolution {i} ({convolutions[i].name})" if i < len(convolutions) else "the output"
            raise WeightsError(
                f"{param}: {where} does not read what it reads in an RRDBNet; expected ESRGAN's or RealSR's generator"
            )
    return fill(network, _numbers(weights, network), str(weights))  # type: ignore[return-value]


def _parse(path: Path) -> list[_Layer]:
    if path.stat().st_size > _MAX_TEXT:
        raise WeightsError(f"{path}: too large for a graph in text; expected an ncnn .param")
    try:
        lines = path.read_text("ascii").splitlines()
    except UnicodeDecodeError:
        raise WeightsError(
            f"{path}: binary, expected ncnn's text (.param, beginning with {MAGIC.decode()})"
        ) from None
    if not lines or lines[0].strip() != MAGIC.decode():
        raise WeightsError(
            f"{path}: begins with {(lines or [''])[0][:40]!r}, expected an ncnn .param ({MAGIC.decode()})"
        )
    layers = []
    try:
        count = int(lines[1].split()[0])
        for line in filter(str.strip, lines[2:]):
            kind, name, ins, outs, *rest = line.split()
            blobs, options = rest[: int(ins) + int(outs)], rest[int(ins) + int(outs) :]
            layers.append(_Layer(kind, name, blobs[: int(ins)], blobs[int(ins) :], _options(options)))
    except (ValueError, IndexError):
        raise WeightsError(
            f"{path}: damaged, line {len(layers) + 3} cannot be read; fetch it again"
        ) from None
    if len(layers) != count:
        raise WeightsError(f"{path}: announces {count} layers, holds {len(layers)}: damaged; fetch it again")
    return layers


def _options(fields: list[str]) -> dict[int, list[float]]:
    """`k=v`, or an array as `-23300-k=n,v,v…`."""
    options = {}
    for field in fields:
        key, _, text = field.partition("=")
        values = [float(value) for value in text.split(",")]
        number = int(key)
        options[-23300 - number if number <= -23300 else number] = values[1:] if number <= -23300 else values
    return options


def _follow(layers: list[_Layer], atoms: _Atoms, source: Path) -> tuple[list[_Layer], list[Value], Value]:
    """The convolutions in order, what each reads, and what the network returns."""
    blobs: dict[str, Value] = {}
    convolutions: list[_Layer] = []
    reads: list[Value] = []
    value: Value = ()
    for layer in layers:
        try:
            if missing := [name for name in layer.inputs if name not in blobs]:
                raise ValueError(f"it reads {missing[0]}, which no layer before it makes")
            inputs = [blobs[name] for name in layer.inputs]
            if layer.kind == "Convolution":
                _check_convolution(layer)
                reads.append(inputs[0])
                convolutions.append(layer)
                value = _activated(layer, atoms.value("convolution", len(reads) - 1), atoms)
            else:
                value = _apply(layer, inputs, atoms)
        except (IndexError, ValueError) as error:
            raise WeightsError(
                f"{source}: layer {layer.name} ({layer.kind}) has no place in an RRDBNet ({error}); "
                "expected ESRGAN's or RealSR's generator"
            ) from None
        blobs.update(dict.fromkeys(layer.outputs, value))
    return convolutions, reads, value


def _apply(layer: _Layer, inputs: list[Value], atoms: _Atoms) -> Value:
    match layer.kind:
        case "Input":
            return atoms.value("input")
        case "Split":
            return inputs[0]
        case "Concat" if layer.option(0, 0) == 0:
            return atoms.value("concat", *inputs)
        case "ReLU":
            return atoms.value("leaky", round(layer.option(0, 0), 6), inputs[0])
        case "Interp" if [layer.option(key, 0) for key in range(5)] == [1, 2, 2, 0, 0]:
            return atoms.value("nearest", inputs[0])
        case "Eltwise" if layer.option(0, 0) == 1:
            return _sum(inputs, layer.options.get(1) or [1.0] * len(inputs))
        case "BinaryOp" if layer.option(0, 0) == 0 and not layer.option(1, 0):
            return _sum(inputs, [1.0, 1.0])
        case "BinaryOp" if layer.option(0, 0) == 2 and layer.option(1, 0):
            return _sum(inputs, [layer.option(2, 0)])
    raise ValueError("this kind of layer, or its options, are not used there")


def _sum(values: list[Value], coefficients: list[float]) -> Value:
    total: dict[int, Fraction] = {}
    for value, coefficient in zip(values, coefficients, strict=True):
        exact = Fraction(coefficient).limit_denominator(1_000_000)
        for atom, factor in value:
            total[atom] = total.get(atom, Fraction()) + exact * factor
    return tuple(sorted(total.items()))


def _check_convolution(layer: _Layer) -> None:
    for key, expected in _CONVOLUTION.items():
        if key in layer.options and layer.option(key, 0) != expected:
            raise ValueError(f"option {key} is {layer.option(key, 0):g}, expected {expected}")
    if layer.option(1, 0) != 3 or layer.option(4, 0) != 1 or layer.option(5, 0) != 1:
        raise ValueError("expected a 3×3 kernel, padding 1, and a bias")


def _activated(layer: _Layer, value: Value, atoms: _Atoms) -> Value:
    """The activation that ncnn fuses into a convolution: none, ReLU or leaky ReLU."""
    kind = layer.option(9, 0)
    if kind == 0:
        return value
    if kind in (1, 2):
        return atoms.value("leaky", round(layer.option(10, 0), 6) if kind == 2 else 0.0, value)
    raise ValueError(f"activation {kind:g}")


def _network(layers: list[_Layer], convolutions: list[_Layer], source: Path) -> RRDBNet:
    """An empty RRDBNet of the size that the file's counts say."""
    stages = sum(layer.kind == "Interp" for layer in layers)
    nb, rest = divmod(len(convolutions) - 4 - stages, 15)
    if rest or nb < 1 or stages not in (1, 2):
        raise WeightsError(
            f"{source}: {len(convolutions)} convolutions and {stages} enlargements make no RRDBNet; "
            "expected ESRGAN's or RealSR's generator"
        )
    try:
        network = RRDBNet(int(convolutions[0].option(0, 0)), nb, int(convolutions[1].option(0, 0)), 2**stages)
    except ValueError as error:
        raise WeightsError(f"{source}: {error}") from None
    for layer, module in zip(convolutions, _convolutions(network).values(), strict=True):
        found = (layer.option(0, 0), layer.option(6, 0))
        expected = (module.out_channels, module.weight.numel())
        if found != expected:
            raise WeightsError(
                f"{source}: {layer.name} has {found[0]:g} outputs and {found[1]:g} weights, in an RRDBNet of this size "
                f"it has {expected[0]} and {expected[1]}; expected ESRGAN's or RealSR's generator"
            )
    return network


def _convolutions(network: RRDBNet) -> dict[str, nn.Conv2d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def _reference(network: RRDBNet, atoms: _Atoms) -> list[Value]:
    """What each convolution of an RRDBNet reads, then what the network returns."""
    reads: list[Value] = []

    def convolution(value: Value) -> Value:
        reads.append(value)
        return atoms.value("convolution", len(reads) - 1)

    def leaky(value: Value) -> Value:
        return atoms.value("leaky", 0.2, value)

    x = shallow = convolution(atoms.value("input"))
    for _ in network.trunk:
        outer = x
        for _ in range(3):
            seen = [x]
            for i in range(4):
                seen.append(leaky(convolution(atoms.value("concat", *seen) if i else x)))
            x = _sum([x, convolution(atoms.value("concat", *seen))], [1.0, 0.2])
        x = _sum([outer, x], [1.0, 0.2])
    x = _sum([shallow, convolution(x)], [1.0, 1.0])
    for _ in network.enlarge:
        x = leaky(convolution(atoms.value("nearest", x)))
    output = convolution(leaky(convolution(x)))
    return [*reads, output]


def _numbers(path: Path, network: RRDBNet) -> dict[str, Tensor]:
    """Per convolution: a tag, the weights (fp16 padded to 4 bytes, or fp32), the bias (fp32)."""
    data = path.read_bytes()
    position = 0

    def take(kind: str, count: int, name: str) -> np.ndarray:
        nonlocal position
        end = position + count * np.dtype(kind).itemsize
        if end > len(data):
            raise WeightsError(f"{path}: ends at byte {len(data)} inside {name}: truncated; fetch it again")
        array = np.frombuffer(data, kind, count, position)
        position = end + -end % 4
        return array

    tensors = {}
    for name, module in _convolutions(network).items():
        tag = int(take("<u4", 1, name)[0])
        if tag not in (_FP16, _FP32):
            raise WeightsError(
                f"{path}: {name} is stored with tag {tag:#010x}, expected fp16 ({_FP16:#010x}) or fp32 (0); "
                "8-bit weights are not read"
            )
        shape = module.weight.shape
        weight = take("<f2" if tag == _FP16 else "<f4", math.prod(shape), name)
        tensors[f"{name}.weight"] = torch.from_numpy(weight.astype(np.float32)).view(shape)
        tensors[f"{name}.bias"] = torch.from_numpy(take("<f4", shape[0], name).astype(np.float32))
    if position != len(data):
        raise WeightsError(
            f"{path}: {len(data) - position} bytes are left over; it belongs to another .param"
        )
    return tensors
