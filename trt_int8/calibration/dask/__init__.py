"""Calibrate on many machines, or in many processes of one, with Dask distributed."""

from trt_int8.calibration.dask.cluster import cluster
from trt_int8.calibration.dask.collect import collect_on

__all__ = ["cluster", "collect_on"]
