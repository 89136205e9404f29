"""Run the tests as on other machines: python scripts/course.py test-elsewhere.

    python scripts/elsewhere.py                                       every profile: unit tests, then all notebooks
    python scripts/elsewhere.py jitter                                one profile
    python scripts/elsewhere.py jitter notebooks/01*.ipynb            one profile, these tests or notebooks only

A profile is a set of environment variables: kernels of an older CPU, one, two or four threads, or *jitter*, which
multiplies every convolution and matrix product by 1 + 1e-6 · noise (tests/elsewhere/sitecustomize.py). What a test or
a notebook states must hold under each. Exit status: 0 all passed, 1 something fell, 2 no such profile.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import course

ROOT = Path(__file__).resolve().parents[1]
PROFILES = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"},
    "avx2-two-threads": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"},
    "plain-four-threads": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "4",
    },
    "jitter": {"OTSR_JITTER": "1e-6", "OMP_NUM_THREADS": "1"},
}  # fmt: skip
EVERYTHING = ["notebooks", "tests/unit"]


def run(profile: str, tests: list[str]) -> int:
    """Exit status of pytest on these tests under a profile."""
    path = [str(ROOT / "tests" / "elsewhere"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **PROFILES[profile], "PYTHONPATH": os.pathsep.join(filter(None, path))}
    (pytest,) = course.commands("test", tests)
    if environment["OMP_NUM_THREADS"] != "1":  # threads that wait for one another must not keep a core busy
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        pytest[pytest.index("-n") + 1] = str(os.cpu_count() or 1)
    return subprocess.run([sys.executable, *pytest], cwd=ROOT, env=environment).returncode


def main(arguments: list[str]) -> int:
    """Run what the command line says; see the top of this file."""
    name, *tests = arguments or [""]
    if name and name not in PROFILES:
        print(f"no profile {name}; there are {', '.join(PROFILES)}", file=sys.stderr)
        return 2
    fell = []
    for profile in [name] if name else PROFILES:
        print(f"== {profile}: {PROFILES[profile]}", flush=True)
        if run(profile, tests or EVERYTHING):
            fell.append(profile)
    print("fell under: " + ", ".join(fell) if fell else "everything passed")
    return bool(fell)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
