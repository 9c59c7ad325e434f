"""LightCap in PyTorch: what the engine is compared with, and what is trained.

One file per block of the paper (arXiv 2212.08985). Modules are batched and trainable; module and
parameter names are those of the checkpoints, so `LightCap.state_dict()` is a whole checkpoint.
"""
