"""The parts of ``explicit_quality.py``: models, data, quantizers, engines, the table."""
