"""Report the progress of long work; an application chooses whether and how it is shown."""

from trt_int8.progress.display import Display, Phase, note, phase, show, track, write
from trt_int8.progress.lines import Lines

__all__ = ["Display", "Lines", "Phase", "note", "phase", "show", "track", "write"]
