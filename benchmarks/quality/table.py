"""The result as Markdown: a table for each model, and what does not build."""

import math

FLOAT = "float model"
OURS = "ours"
#: How far a peer may be ahead, as the table marks it.
SQNR_MARGIN, KERNEL_MARGIN = 0.2, 0.02
NOBODY_AHEAD = (
    "No other quantizer has more nodes in INT8, fewer compute kernels (by more than "
    f"{KERNEL_MARGIN * 100:.0f} %) or a higher SQNR (by more than {SQNR_MARGIN} dB) than our default."
)
#: Characters of TensorRT's line about a model that does not build; the JSON has all.
LONGEST = 220

COLUMNS = (
    "quantizer | builds | INT8 | compute kernels | all kernels | float KB between INT8 | MB moved | "
    "SQNR dB | task % | seconds | peak MiB"
)


def markdown(result):
    """All tables of ``result``, the JSON of ``explicit_quality.py``."""
    parts = []
    for model in dict.fromkeys(row["model"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["model"] == model]
        parts += [f"### {model}", "", f"| {COLUMNS} |", f"|{' --- |' * len(COLUMNS.split('|'))}"]
        parts += [_line(row) for row in rows]
        refused = [f"- {row['quantizer']}: `{row['error'][:LONGEST]}`" for row in rows if row.get("error")]
        parts += ["", "Does not build:", "", *refused, ""] if refused else [""]
        parts += [*_ahead(rows), ""]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n".join([*parts, f"{versions}; {result['minutes']} minutes on {_target(result)}."])


def ahead(ours, peer):
    """In which columns ``peer`` is ahead of ``ours`` by more than the margins."""
    found = []
    if peer["int8"] > ours["int8"]:
        found.append(f"{peer['int8'] - ours['int8']} more nodes in INT8")
    if ours["kernels"] > peer["kernels"] * (1 + KERNEL_MARGIN):
        found.append(f"{ours['kernels'] - peer['kernels']} fewer compute kernels{_in_total(ours, peer)}")
    if peer["sqnr_db"] - SQNR_MARGIN > ours["sqnr_db"]:
        fewer = ours["int8"] - peer["int8"]
        how = f" with {fewer} fewer nodes in INT8" if fewer > 0 else ""
        found.append(f"{peer['sqnr_db'] - ours['sqnr_db']:.1f} dB more SQNR{how}")
    return found


def _in_total(ours, peer):
    """Quantize steps and copies are no compute kernels, and are launched all the same."""
    more = peer.get("layers", 0) - ours.get("layers", 0)
    return f" and {more} more kernels in total" if more > 0 else ""


def _ahead(rows):
    ours = next((row for row in rows if row["quantizer"] == OURS and "int8" in row), None)
    if ours is None:
        return []
    peers = [row for row in rows if "sqnr_db" in row and "int8" in row and not _own(row)]
    found = {peer["quantizer"]: ahead(ours, peer) for peer in peers}
    told = [f"- {name} has {', '.join(how)}." for name, how in found.items() if how]
    return ["Ahead of our default:", "", *told] if told else [NOBODY_AHEAD]


def _own(row):
    return row["quantizer"].startswith(OURS)


def _line(row):
    built = "int8" in row
    cells = [
        row["quantizer"] + (f" ({row['note']})" if row["note"] else ""),
        "yes" if built else "no",
        f"{row['int8']} of {row['multiplying']}" if built else "",
        row["kernels"] if built else "",
        row["layers"] if built else "",
        round(row["float_bytes"] / 1024) if built else "",
        f"{row['bytes_moved'] / 2**20:.1f}" if built else "",
        _number(row.get("sqnr_db")),
        _number(row.get("metric")),
        _number(row.get("seconds")),
        row.get("peak_mib", ""),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _number(value):
    return "" if value is None else "∞" if math.isinf(value) else f"{value:.1f}"


def _target(result):
    row = next((row for row in result["rows"] if "target" in row), {})
    return f"{row.get('tensorrt', 'no TensorRT')} for {row.get('target', 'nothing')}"
