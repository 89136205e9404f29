"""The command line: one file a group of commands, `root` for what they share.

Importing a file adds its commands to `app`, in the order in which `otsr --help` lists them.
"""

from otsr.cli import upscale, page, degradation, train, evaluate, weights  # noqa: F401, I001
from otsr.cli.root import app, main

__all__ = ["app", "main"]
