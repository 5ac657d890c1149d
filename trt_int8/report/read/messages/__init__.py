"""Messages of a log → facts about the build. Each module of this package reads some of the messages.

To read a new kind of message, add a module here with a subclass of `Messages`: ``@grammar`` stands above the
class, and ``@begins(…)`` above the method that reads the message. No other file changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TypeVar

from trt_int8.report.read.observed import Reading

#: Reads a message with its line number. It returns False for a message that only begins like its own.
Reader = Callable[[bytes, int], object]
#: Speed: a reader is looked up by this many bytes, without a search.
KEY = 6
#: First bytes of messages that are known and hold no fact for a report.
_SILENT = (
    b"      |    In|    Ou|After |Alloca|Applyi|Assign|Block |Buildi|CONSTA|CUDA l|Castin|Compil|"
    b"Config|ConstS|Constr|ConvRe|Convol|Create|Deleti|Deseri|Detect|Disabl|Doc st|Domain|Elimin|"
    b"Enabli|Finali|Format|GRAPH |Gather|Genera|Global|Graph |Import|Input |Kernel|Layer:|Loaded|"
    b"Local |Markin|Max Sc|Mergin|Model |Number|Opset |Output|Plugin|Produc|Reserv|Retarg|Runnin|"
    b"STILL |SYMBOL|Saved |Search|Serial|Set ca|Settin|Some t|Static|Subgra|Swap t|Total |Trying|"
    b"Using |[Block|[MemUs|>>>>>>"
).split(b"|")


class Messages:
    """Reader of some messages of one log. Facts go into ``self._reading.build``."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def named(self, message: bytes, number: int) -> bool:
        """Read a message that begins with the name of a layer or node. Return False if it is another one."""
        return False


#: The grammar of logs: the classes that read messages.
GRAMMARS: list[type[Messages]] = []
_Class = TypeVar("_Class", bound=type[Messages])
_Method = TypeVar("_Method", bound=Callable[..., object])


def grammar(messages: _Class) -> _Class:
    """Add a class to `GRAMMARS`."""
    GRAMMARS.append(messages)
    return messages


def begins(*beginnings: bytes) -> Callable[[_Method], _Method]:
    """Mark a method as the reader of all messages with one of these beginnings, of `KEY` bytes each."""

    def mark(method: _Method) -> _Method:
        method.begins = beginnings  # type: ignore[attr-defined]
        return method

    return mark


def ignore(message: bytes, number: int) -> None:
    """Read a message that holds no fact for a report."""


def readers(reading: Reading) -> tuple[dict[bytes, Reader], list[Reader]]:
    """Return the readers for one log: by beginning, and those of messages that begin with a name.

    Raises:
        ValueError: a beginning has not `KEY` bytes, or has two readers.
    """
    found: dict[bytes, Reader] = {}
    named: list[Reader] = []
    for messages in GRAMMARS:
        instance = messages(reading)
        for name, method in vars(messages).items():
            for beginning in getattr(method, "begins", ()):
                if len(beginning) != KEY or beginning in found:
                    raise ValueError(
                        f"{messages.__name__}.{name} reads messages that begin with {beginning!r}; "
                        f"a beginning has {KEY} bytes and one reader"
                    )
                found[beginning] = getattr(instance, name)
        if messages.named is not Messages.named:
            named.append(instance.named)
    return {**dict.fromkeys(_SILENT, ignore), **found}, named


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
