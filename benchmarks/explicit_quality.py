"""INT8 side by side on real models: this package, onnxruntime's quantizer and NVIDIA's modelopt.

Writes JSON and the table of docs/explicit-quality.md; needs Pillow, onnxruntime, TensorRT-RTX and the network
(wheels from PyPI: models, photographs, torch, modelopt). Everything else it makes itself, in --work::

    python benchmarks/explicit_quality.py            # all models, all quantizers
    python benchmarks/explicit_quality.py --quick    # a few images each
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from quality import data, table
from quality.environment import Environment
from quality.measure import Reference
from quality.models import CASES, DIGITS, fetch_wheels, prepare
from quality.quantizers import QUANTIZERS

HERE = Path(__file__).resolve().parent
#: Seconds after which one quantizer or one build counts as failed.
LIMIT = 300
#: Share of the images that --quick takes.
QUICK = 8


def run_module(python, module, *arguments):
    """Run a module of ``quality`` in a process of its own: (its JSON, the end of what it said)."""
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"}
    command = [str(python), "-m", module, *map(str, arguments)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None, f"not done after {LIMIT} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1]), ""
    return None, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def measure(case, quantizer, python, folder, reference):
    """One row: quantize, compare, build."""
    row = {"model": case.name, "quantizer": quantizer.name, "note": quantizer.note}
    path = folder / "quantized.onnx"
    path.unlink(missing_ok=True)
    used, problem = run_module(
        python,
        "quality.quantizers",
        quantizer.name,
        folder / "float.onnx",
        folder / "calibration.npy",
        path,
    )
    if used is None:
        return {**row, "error": f"no model: {problem}"}
    row.update(used)
    try:
        row.update(reference.compare(path))
    except Exception as error:  # whatever a peer's model does to onnxruntime belongs into the table
        row["error"] = str(error).splitlines()[0]
    built, problem = run_module(sys.executable, "quality.engines", path, folder / "build.log")
    return {**row, **(built or {"error": problem})}


def compare(case, quantizers, environment, wheels, work, quick):
    """All rows of one model; the first is the float model's."""
    folder = work / "run" / case.name.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    model = prepare(case, wheels, work / "trained")
    onnx.save(model, folder / "float.onnx")
    sets = {}
    for part, count in zip(("calibration", "evaluation"), case.counts, strict=True):
        count = max(4, count // QUICK) if quick else count
        sets[part] = case.images(data.Renderer(part, wheels), part, count)
    np.save(folder / "calibration.npy", sets["calibration"].images)
    evaluation = sets["evaluation"]
    reference = Reference(model, evaluation.images, evaluation.truth, case.metric)
    built, problem = run_module(
        sys.executable, "quality.engines", folder / "float.onnx", folder / "build.log"
    )
    yield {
        "model": case.name,
        "quantizer": table.FLOAT,
        "note": "",
        "metric": reference.score(reference.outputs),
        **(built or {"error": problem}),
    }
    for quantizer in quantizers:
        yield measure(case, quantizer, environment.python(quantizer.tool), folder, reference)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"one image in {QUICK}, at least four")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build/explicit-quality")
    parser.add_argument("--models", help="only models whose name contains this")
    parser.add_argument("--quantizers", help="only quantizers whose name contains this")
    parser.add_argument("--print", action="store_true", help="only print the table of the last run again")
    options = parser.parse_args()
    if options.print:
        print(table.markdown(json.loads((options.work / "result.json").read_text())))
        return
    start = time.perf_counter()
    options.work.mkdir(parents=True, exist_ok=True)
    wheels = fetch_wheels(options.work / "wheels")
    environment = Environment(options.work)
    environment.train(DIGITS)
    rows = []
    for case in CASES:
        if options.models and options.models not in case.name:
            continue
        chosen = [q for q in QUANTIZERS if not options.quantizers or options.quantizers in q.name]
        for row in compare(case, chosen, environment, wheels, options.work, options.quick):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
            (options.work / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")
    result = {
        "schema": 1,
        "rows": rows,
        "versions": environment.versions(),
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "quick": options.quick,
    }
    (options.work / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table.markdown(result))


if __name__ == "__main__":
    main()
