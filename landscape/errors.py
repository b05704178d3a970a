"""The errors a user can cause: one base class, a few kinds."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from typing import ParamSpec, TypeGuard, TypeVar

Taken = ParamSpec("Taken")
Given = TypeVar("Given")


class LandscapeError(Exception):
    """Something the caller can put right; the message says what came and what to type."""


class CheckpointError(LandscapeError):
    """A file could not be turned into a trained model."""


class TaskError(LandscapeError):
    """The model, the data or the loss do not fit together, or one of them is missing."""


class ObjectiveError(LandscapeError):
    """The loss around the trained point is not a function that can be measured."""


class CurvatureError(LandscapeError):
    """A curvature cannot be computed: an operator, a vector or a setting makes no sense."""


class RankError(LandscapeError):
    """The processes that share a measurement have come apart, or one of them is gone."""


class OutOfBudget(LandscapeError):
    """The budget is spent in the middle of something that is now not whole.

    Attributes:
        passes: full passes over the data that were made for it.
    """

    passes: float = 0.0

    def __init__(self) -> None:
        super().__init__("The budget was used up before this was whole: pass a longer `budget=...`.")


class ProgramEnded(Exception):
    """A user's code raised something that would end the program, such as SystemExit."""


class StoreError(LandscapeError):
    """A results file cannot be read, written or continued."""


class MissingExtraError(LandscapeError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed.\n"
            f"Install it with: pip install 'landscape-lab[{extra}]'"
        )


def check_count(name: str, value: object, least: int = 1, error: type[LandscapeError] = LandscapeError) -> int:
    """Return the value of a keyword if it is a whole number of at least ``least``.

    >>> check_count("probes", 2.5)
    Traceback (most recent call last):
    ...
    landscape.errors.LandscapeError: `probes` must be a whole number of at least 1, not 2.5.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise error(f"`{name}` must be a whole number of at least {least}, not {value!r}.")
    return int(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_number(name: str, value: object, error: type[LandscapeError] = LandscapeError) -> float:
    """Return the value of a keyword if it is a number, which may be NaN or infinite.

    >>> check_number("span", "wide")
    Traceback (most recent call last):
    ...
    landscape.errors.LandscapeError: `span` must be a number, not 'wide'.
    """
    if not is_number(value):
        raise error(f"`{name}` must be a number, not {value!r}.")
    return float(value)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, shortened; the name of its type if it says nothing.

    >>> first_line(ValueError("\\n too long\\n at line 3")), first_line(ValueError())
    ('too long', 'ValueError')
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[0]) if lines else type(error).__name__


def shortened(text: str, longest: int = 200) -> str:
    """Return as many whole sentences as fit into ``longest`` characters; else whole words and an ellipsis.

    >>> shortened("Load failed. It can still be loaded, in two ways. Do so only if", 50)
    'Load failed. It can still be loaded, in two ways.'
    >>> shortened("your checkpoint file is not there", 20)
    'your checkpoint ...'
    """
    if len(text) <= longest:
        return text
    ends = [match.end() for match in re.finditer(r"[.!?](?= )", text[: longest + 1])]
    if ends:
        return text[: ends[-1]]
    return text[: longest - 3].rpartition(" ")[0] + " ..."


def type_and_line(error: BaseException) -> str:
    """Return the type of an error and the first line of what it says.

    >>> type_and_line(ValueError("too long"))
    'ValueError: too long'
    """
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def keeps_running(function: Callable[Taken, Given]) -> Callable[Taken, Given]:
    """Let a function that runs a user's code raise ProgramEnded in place of what would end the program.

    That is the SystemExit of sys.exit() or of argparse, and exceptions of the user's that are no Exception. Ctrl-C and
    the end of a generator or of a task pass.
    """

    @wraps(function)
    def call(*args: Taken.args, **kwargs: Taken.kwargs) -> Given:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if isinstance(error, Exception | KeyboardInterrupt | GeneratorExit):
                raise
            if type(error).__name__ == "CancelledError":  # that of asyncio, which takes long to import
                raise
            said = f"it raised {error!r}, which would end the whole program"
            raise ProgramEnded(said).with_traceback(error.__traceback__) from error

    return call


def code_place(error: BaseException) -> str:
    """Return where in the user's code an error was raised, as `` (file.py, line 3)``; empty if nowhere in it.

    That is the innermost call outside of the installed packages that landscape made.
    """
    installed = {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib", "stdlib")}
    ours = Path(__file__).resolve().parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if not file.exists():  # frozen modules, and code that was compiled on the way
            continue
        parents = set(file.resolve().parents)
        if ours in parents:
            break
        if not installed & parents:
            return f" ({file.name}, line {frame.lineno})"
    return ""
