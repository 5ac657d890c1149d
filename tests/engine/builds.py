"""What builds are asked, for the tests of this folder."""

import subprocess
import sys

from trt_int8.report import PrecisionReport


def precisions(report: PrecisionReport) -> dict[str, str]:
    return {node.node: node.precision for node in report.last.nodes}


def multiplying(report: PrecisionReport) -> dict[str, str]:
    found = precisions(report)
    return {name: found[name] for name in ("conv1", "conv2", "ip1", "ip2")}


def fresh_process(code: str) -> str:
    """What ``code`` prints in a process in which no build has failed."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
