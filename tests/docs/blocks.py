"""Run the fenced blocks of a page in the order in which a reader meets them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
#: ``# name.ext`` as the first line: the block is that file.
_FILE = re.compile(r"# (?P<name>[\w./-]+\.(?:py|ya?ml))\b.*\n")
RUN = ("sh", "console", "python", "yaml")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``reason`` says why it is not run."""

    language: str
    text: str
    reason: str | None

    @property
    def file(self) -> str | None:
        """The name of the file it shows."""
        named = _FILE.match(self.text)
        return named["name"] if named else None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m["language"], m["text"], m["reason"]) for m in _FENCE.finditer(text)]


def run_page(page: Path, folder: Path) -> list[str]:
    """Run every block in ``folder``; returns what went differently from what the page says."""
    problems, script = [], ""
    for block in blocks(page):
        if block.reason or block.language not in RUN:
            continue
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            script += block.text  # later blocks of a page go on where earlier ones ended
            problems += _failure(block.text, _run([sys.executable, "-c", script], folder))
        elif block.language == "sh":
            problems += _failure(block.text, _run(["bash", "-euo", "pipefail", "-c", block.text], folder))
        elif block.language == "console":
            problems += _console(block.text, folder)
    return problems


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output shown."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    split = []
    for part in parts:
        command, _, output = re.sub(r"\\\n\s*", "", part).partition("\n")
        split.append((command, output))
    return split


def _console(text: str, folder: Path) -> list[str]:
    problems = []
    for command, expected in commands(Block("console", text, None)):
        code, output = _run(["bash", "-c", command], folder)
        if code != 0 and "Error: " not in expected and "echo $?" not in command:
            problems.append(f"$ {command}\nexit code {code}\n{output}")
        elif expected.strip() and not matches(expected, output):
            problems.append(f"$ {command}\nexpected:\n{expected}\ngot:\n{output}")
    return problems


def matches(expected: str, output: str) -> bool:
    """Whether the page shows the output.

    ``…`` on the page stands for any text, on a line of its own for any lines. Decimal numbers may differ by
    5 %: processors round differently.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else f"{_line_pattern(line.rstrip())} *\n"
        for line in expected.rstrip("\n").split("\n")
    )
    found = re.fullmatch(pattern, output.rstrip("\n") + "\n")
    if found is None:
        return False
    shown = [float(number) for line in expected.split("\n") for number in _NUMBER.findall(line)]
    return all(
        abs(float(got) - want) <= 0.05 * abs(want) for got, want in zip(found.groups(), shown, strict=True)
    )


#: A decimal number, and none that is a part of a name or a version.
_NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?![\w.]*\w)")


def _line_pattern(line: str) -> str:
    parts = _NUMBER.split(line)
    return r"(-?\d+\.\d+)".join(re.escape(part).replace("…", ".*?").replace("\\ ", " ") for part in parts)


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    scripts = str(Path(sys.executable).parent)
    run = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"], "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return run.returncode, run.stdout


def _failure(text: str, result: tuple[int, str]) -> list[str]:
    return [f"{text}\nexit code {result[0]}\n{result[1]}"] if result[0] else []
