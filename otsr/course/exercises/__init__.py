"""Exercises that answer: `check("psnr", my_psnr)` says whether it is right, and if not, what is wrong.

A stub runs as it is and prints "not attempted yet". A check is a function registered under the exercise's name; it
returns None when the answer is right, else a sentence that helps without giving the answer away. One file a notebook
holds its checks; to be found, it is imported here.
"""

from otsr.course.exercises import (  # noqa: F401  register their checks
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
)
from otsr.course.exercises.checking import check

__all__ = ["check"]
