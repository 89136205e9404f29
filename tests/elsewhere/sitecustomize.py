"""Jitter: every convolution and matrix product comes out a little different, as on a machine that we do not have.

Python imports this file by itself when its folder is on PYTHONPATH, so pytest, its workers and the kernels of notebooks
all have it. OTSR_JITTER=1e-6 switches it on: each result is multiplied by 1 + 1e-6 · noise. The noise depends on the
shape alone: as on a real machine the same computation gives the same bits twice, so tests of resume and seeds hold too.
"""

import importlib.abc
import importlib.util
import os
import sys
import threading
from typing import Any

_PRODUCTS = {
    *("convolution", "convolution_backward", "conv1d", "conv2d", "conv3d", "conv_transpose2d"),
    *("mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "matmul", "linear"),
}


def switch_on(level: float) -> None:
    """Jitter this thread's torch from now on. float64 gets the same number of rounding errors as float32."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    noise = torch.randn(1 << 12, generator=torch.Generator().manual_seed(0)).double()

    def jittered(result: Any) -> Any:
        if not isinstance(result, torch.Tensor) or not result.is_floating_point() or result.device.type != "cpu":
            return result
        scale = level * min(1.0, torch.finfo(result.dtype).eps / torch.finfo(torch.float32).eps)
        factor = noise.repeat(-(-result.numel() // len(noise)))[: result.numel()].view(result.shape)
        return (result * (1 + scale * factor).to(torch.promote_types(result.dtype, torch.float32))).to(result.dtype)

    class Jitter(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func.overloadpacket.__name__ not in _PRODUCTS:
                return result
            return tuple(map(jittered, result)) if isinstance(result, tuple) else jittered(result)

    def run_jittered(thread: threading.Thread, run: Any = threading.Thread.run) -> None:
        with Jitter():
            run(thread)

    Jitter().__enter__()  # of this thread; new ones enter their own
    threading.Thread.run = run_jittered


class AfterTorch(importlib.abc.MetaPathFinder):
    """Switches the jitter on as soon as torch is imported, which a recipe or a help text can do without."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                switch_on(float(os.environ["OTSR_JITTER"]))

            spec.loader.exec_module = exec_module
        return spec


if os.environ.get("OTSR_JITTER"):
    sys.meta_path.insert(0, AfterTorch())
