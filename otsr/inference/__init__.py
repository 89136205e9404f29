"""Upscale any picture with one network."""

from otsr.inference.restoration import back_project, keep_colours
from otsr.inference.upscaler import CUDA_TILE, OVERLAP, TILE, Upscaler, scaled_size

__all__ = ["CUDA_TILE", "OVERLAP", "TILE", "Upscaler", "back_project", "keep_colours", "scaled_size"]
