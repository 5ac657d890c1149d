"""Configuration files: everything a command takes, as YAML."""

from trt_int8.config.file import Setting, read_settings
from trt_int8.config.settings import default_map, key, places, to_yaml

__all__ = ["Setting", "default_map", "key", "places", "read_settings", "to_yaml"]
