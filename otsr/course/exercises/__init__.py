"""Exercises that answer: `check("psnr", my_psnr)` says whether it is right, and if not, what is wrong.

A stub runs as it is and prints "not attempted yet". One file a notebook holds its checks; most are tables for
`checking.ask`: what is right, and what each usual mistake computes with a hint that does not give the answer away.
"""

from otsr.course.exercises import (  # noqa: F401  register their checks
    after,
    beyond,
    blur,
    camera,
    critic,
    measure,
    noise,
    start,
    train,
    transport,
    upscale,
    weigh,
)  # fmt: skip
from otsr.course.exercises.checking import check

__all__ = ["check"]
