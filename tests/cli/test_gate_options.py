"""Bounds that would switch a gate off without a word are refused, by every command that has a gate."""

import click
import pytest
from click.testing import CliRunner

from trt_int8.cli import main
from trt_int8.cli.parameters import Bound

GATES = {
    ("evaluate", "m", "q", "--data", "d"): ("--min-sqnr", "--max-drop"),
    ("sensitivity", "m", "--data", "d", "-o", "p"): ("--min-sqnr", "--max-drop"),
    ("cache", "diff", "a", "b"): ("--fail-above",),
    ("report", "log"): ("--min-int8", "--max-reformats"),
}
CASES = [(command, option) for command, options in GATES.items() for option in options]


@pytest.mark.parametrize(("command", "option"), CASES)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "x"])
def test_what_is_no_bound_is_refused(command, option, value):
    result = CliRunner().invoke(main, [*command, option, value])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output


def test_no_number_option_is_left_out():
    """A new gate with a plain float would let NaN pass."""

    def commands(group, name=()):
        for key in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), key)
            if isinstance(command, click.Group):
                yield from commands(command, (*name, key))
            else:
                yield (*name, key), command

    listed = list(commands(main))
    assert {"evaluate", "cache", "report"} <= {name[0] for name, _ in listed}
    plain = [
        (name, parameter.name)
        for name, command in listed
        for parameter in command.params
        if isinstance(parameter.type, click.types.FloatParamType) and not isinstance(parameter.type, Bound)
    ]
    assert plain == []
