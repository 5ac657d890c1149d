"""Win back accuracy that quantization costs: each correction is judged, and kept only where it helps."""
