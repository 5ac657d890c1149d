"""Find installed packages and GPUs, and the routes to an INT8 engine that they make available."""

from trt_int8.doctor.diagnosis import Diagnosis, Route, Step, diagnose, find_routes
from trt_int8.doctor.facts import Builder, Facts, Package
from trt_int8.streamer.gpu import Gpu

__all__ = ["Builder", "Diagnosis", "Facts", "Gpu", "Package", "Route", "Step", "diagnose", "find_routes"]
