"""``python -m trt_int8``."""

from trt_int8.cli import main

main(prog_name="trt-int8")
