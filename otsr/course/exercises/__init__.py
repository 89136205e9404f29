"""Exercises that answer: `check("psnr", my_psnr)` says whether it is right, and if not, what is wrong.

A stub runs as it is and prints "not attempted yet". One file a notebook holds its checks; most are tables for
`checking.ask`: what is right, and what each usual mistake computes with a hint that does not give the answer away.
"""

from importlib import import_module
from pkgutil import iter_modules

from otsr.course.exercises.checking import check

__all__ = ["check"]

for _file in iter_modules(__path__):  # each registers its checks
    import_module(f"{__name__}.{_file.name}")
