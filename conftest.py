"""For tests and notebooks alike: what is compared when a notebook runs, wherever pytest is started."""

import atexit
import shutil
import sys
import tempfile
from typing import Any

import nbval.kernel
from jupyter_client.manager import KernelManager

pytest_plugins = ["tests.notebooks.tolerance", "tests.notebooks.solutions"]


def kernel_manager(**settings: Any) -> KernelManager:
    """One whose kernel listens at files: two kernels that start at the same moment may choose the same port."""
    return KernelManager(transport="ipc", ip=tempfile.mkdtemp(dir=SOCKETS) + "/kernel", **settings)


if sys.platform == "linux":  # where a path in the temporary folder is short enough for a socket
    SOCKETS = tempfile.mkdtemp(prefix="otsr-")
    atexit.register(shutil.rmtree, SOCKETS, ignore_errors=True)
    nbval.kernel.KernelManager = kernel_manager
