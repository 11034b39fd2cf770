"""Weights and networks: knows tensors, not rasters."""
