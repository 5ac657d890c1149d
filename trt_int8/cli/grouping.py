"""Options that belong together reach a command as one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])


def grouped(
    argument: str, record: Callable[..., Any], options: Sequence[Callable[[Any], Any]]
) -> Callable[[Command], Command]:
    """A decorator that adds ``options`` and passes them on as ``argument=record(option=…, …)``.

    Args:
        argument: name of the command's parameter.
        record: a dataclass with a field per option.
        options: click decorators.
    """

    def decorate(command: Command) -> Command:
        names: list[str] = []

        def collect(**arguments: Any) -> Any:
            values = {name: arguments.pop(name) for name in names}
            return command(**{argument: record(**values)}, **arguments)

        collect.__name__, collect.__doc__ = command.__name__, command.__doc__
        wrapped: Any = collect
        for option in reversed(options):
            wrapped = option(wrapped)
        names.extend(parameter.name for parameter in wrapped.__click_params__)
        wrapped.__click_params__ = [*getattr(command, "__click_params__", []), *wrapped.__click_params__]
        result: Command = wrapped
        return result

    return decorate
