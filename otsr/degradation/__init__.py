"""Stages 1 and 2: how a camera degrades (kernels, noise), and clean photos degraded alike (`Degradation`)."""
