"""What this machine can do: packages, GPU, and which routes to an INT8 engine are open."""

from trt_int8.doctor.diagnosis import Diagnosis, Route, Step, diagnose, find_routes
from trt_int8.doctor.facts import Builder, Facts, Package
from trt_int8.streamer.gpu import Gpu

__all__ = ["Builder", "Diagnosis", "Facts", "Gpu", "Package", "Route", "Step", "diagnose", "find_routes"]
