"""The program ``trt-int8``, also ``python -m trt_int8``."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line. Ctrl-C ends in one line while it is imported, and does nothing after its end."""
    try:
        from trt_int8.cli import main as run

        run(prog_name="trt-int8")
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped before the work began. No result was written.\n")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
