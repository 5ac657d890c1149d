"""The commands that take options."""

import click

from trt_int8.cli import main


def leaves():
    """Every command that takes options, by its words."""
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", c) for inner, c in command.commands.items())
        else:
            yield name, command


LEAVES = dict(leaves())
