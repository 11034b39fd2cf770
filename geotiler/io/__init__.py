"""The edges: the only place that opens rasters and vector files, and the rules for outputs."""
