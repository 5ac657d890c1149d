"""Calibration on many machines, or many processes of one, with Dask distributed."""

from trt_int8.distributed.cluster import cluster
from trt_int8.distributed.collect import collect_on

__all__ = ["cluster", "collect_on"]
