"""For tests and notebooks alike: what is compared when a notebook runs, wherever pytest is started."""

import atexit
import shutil
import sys
import tempfile
from typing import Any

# jsonschema, which nbformat imports, would build the grammars of URIs and IRIs: two seconds in each process of the
# tests, for formats that no notebook has. So nbval comes here, not from its entry point, which pytest loads earlier.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

import nbval.kernel  # noqa: E402
from jupyter_client.manager import KernelManager  # noqa: E402

pytest_plugins = ["nbval.plugin", "tests.notebooks.tolerance", "tests.notebooks.solutions"]


def kernel_manager(**settings: Any) -> KernelManager:
    """One whose kernel listens at files: two kernels that start at the same moment may choose the same port."""
    return KernelManager(transport="ipc", ip=tempfile.mkdtemp(dir=SOCKETS) + "/kernel", **settings)


if sys.platform == "linux":  # where a path in the temporary folder is short enough for a socket
    SOCKETS = tempfile.mkdtemp(prefix="otsr-")
    atexit.register(shutil.rmtree, SOCKETS, ignore_errors=True)
    nbval.kernel.KernelManager = kernel_manager
