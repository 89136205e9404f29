"""What this machine can do: the device, the fast and safe precision, the memory that is free and that will be needed.

The need is counted, not guessed: the computation runs once on PyTorch's "meta" device, where tensors have shapes
but no data, and the bytes that are alive at the same time are summed.
"""

import copy
import math
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """The device named, or for "auto" the fastest here: CUDA, Apple's GPU ("mps"), else the CPU.

    For inference: training needs float64, which Apple's GPUs lack. A device that is not here is a ValueError.
    """
    mps = ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        here, reason = ", ".join(["auto", "cpu", *cuda, *mps]), str(error).splitlines()[0]
        raise ValueError(f"device {str(name)!r} cannot be used; here: {here} ({reason})") from None
    return torch.device(name)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The floating-point type for inference: that of "fp32", "bf16" or "fp16", or for "auto" the fastest that is safe.

    That is fp16 on CUDA, bf16 on a CPU that multiplies it in hardware, else fp32. An unknown name is a ValueError.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and fast_bf16() else torch.float32
    if precision not in DTYPES:
        raise ValueError(f"precision is {precision!r}, expected auto or one of {', '.join(DTYPES)}")
    return DTYPES[precision]


def fast_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16, AMX, Arm BF16).

    oneDNN's own answer is not enough: it also says yes where it emulates bf16, slower than fp32.
    """
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    for line in _text(cpuinfo).splitlines():
        if line.startswith(("flags", "Features")):
            return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(line.split()))
    # Not Linux. The question exists since torch 2.6; before it the safe answer is no.
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def place(network: nn.Module, device: torch.device, dtype: torch.dtype, *, on: torch.device | None = None) -> nn.Module:
    """A copy for inference on a device and in a precision; it lies on `on` ("meta", to count its memory), if given.

    With 16 bits the first and last convolution stay in fp32, and so does what flows past the blocks of an `RRDBNet`:
    less than 1 % of the work, but bf16 there costs more than in all other layers together (`realsr-df2k` on photos:
    51 dB of agreement with fp32, against 56). On CUDA, where exact fp32 has no tensor cores and the last layer is the
    largest, these two are in fp16: its rounding is 8 times finer than bf16's (all in fp16: 58 dB).
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False).to(on or device, dtype)
    convolutions = [module for module in copied.modules() if isinstance(module, nn.Conv2d)]
    if dtype != torch.float32 and convolutions:
        for convolution in (convolutions[0], convolutions[-1]):
            convolution.to(torch.float16 if device.type == "cuda" else torch.float32)
        for module in copied.modules():
            if "weight" in module._parameters:
                module.register_forward_pre_hook(_cast_to_weight)
    return copied.to(memory_format=memory_format(device, dtype))  # type: ignore[call-overload]


def _cast_to_weight(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].to(module.weight.dtype), *inputs[1:])


def memory_format(device: torch.device, dtype: torch.dtype) -> torch.memory_format:
    """The layout whose convolutions are fastest: NCHW on Apple's GPU, and in exact fp32 on CUDA (no tensor cores)."""
    plain = device.type == "mps" or (device.type == "cuda" and dtype == torch.float32)
    return torch.contiguous_format if plain else torch.channels_last


@contextmanager
def without_tf32() -> Iterator[None]:
    """Inside, CUDA multiplies fp32 in full. By default torch lets convolutions round the factors to 10 bits.

    Such a convolution in NCHW also takes workspace, for its input and output in NHWC.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = False
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def live_peak(run: Callable[[], object]) -> int:
    """Most bytes of tensors, made inside `run`, that were alive at one time; on meta tensors in milliseconds."""
    with _LiveBytes() as counter:
        run()
    return counter.peak


class _LiveBytes(TorchDispatchMode):
    """Adds a storage when an operation first returns it, takes it away when its last tensor is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._holders: Counter[int] = Counter()  # tensors of each storage

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {id(leaf) for leaf in tree_leaves(args)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and id(leaf) not in given:  # an in-place result is held already
                storage = leaf.untyped_storage()
                self._count(1, storage._cdata, storage.nbytes())
                weakref.finalize(leaf, self._count, -1, storage._cdata, storage.nbytes())
        return result

    def _count(self, tensors: int, storage: int, size: int) -> None:
        before = self._holders[storage]
        self._holders[storage] += tensors
        if 0 in (before, self._holders[storage]):
            self._live += tensors * size
            self.peak = max(self.peak, self._live)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; to CUDA by way of pinned memory, so that nothing waits for it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def fetch(*tensors: Tensor) -> Callable[[], list[Tensor]]:
    """Start copying tensors of one device to the CPU; the function that is returned waits for the copies.

    On CUDA they go to pinned memory, behind the work that was asked for before; until they arrive the CPU is free.
    """
    device = tensors[0].device
    copies = [tensor.to("cpu", non_blocking=device.type == "cuda") for tensor in tensors]
    arrived = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None

    def wait() -> list[Tensor]:
        if arrived is not None:
            arrived.synchronize()
        return copies

    return wait


def free_on(device: torch.device) -> float:
    """Bytes that can still be taken on a CUDA device, with those that PyTorch holds unused; infinity on others."""
    if device.type != "cuda":
        return math.inf
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes of main memory that can still be taken without swapping, or None where the system does not say.

    The smaller of the kernel's estimate and what the container's limit (cgroup 1 or 2) leaves, by the files in `root`.
    """
    found = [1024 * int(kB) for kB in re.findall(r"MemAvailable: *(\d+)", _text(root / "proc/meminfo"))]
    groups = root / "sys/fs/cgroup"
    for group, limit, used in (
        (groups, "memory.max", "memory.current"),
        (groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        numbers = [_text(group / name).strip() for name in (limit, used)]
        if all(number.isdigit() for number in numbers):
            # A container's cache of files is given back when asked.
            cache = re.findall(r"^(?:total_)?inactive_file (\d+)", _text(group / "memory.stat"), re.M)
            found.append(int(numbers[0]) - int(numbers[1]) + max(map(int, cache), default=0))
    return max(0, min(found)) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def duration(seconds: float) -> str:
    """In words of two parts at most: "48 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
