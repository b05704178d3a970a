"""The sharpness measures by name. Ours and those of users enter by the same decorator."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.results.sharpness import DIRECTIONS, INVARIANCES

ENTRY_POINTS = "landscape.measures"  #: group of the entry points by which packages bring measures
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


Function = Callable[[Any, Draws], Any]  #: (objective, draws) -> a number, (number, error) or a Reading
Decorated = TypeVar("Decorated", bound=Function)


@dataclass(frozen=True)
class Definition:
    """A measure: its function and what is claimed of it.

    Attributes:
        name: such as ``average-case``.
        function: (objective, draws) -> a number, a pair (number, standard error), or a
            :class:`landscape.measures.reading.Reading`.
        larger: what a larger value means: ``sharper`` or ``flatter``; empty if it is no measure of sharpness.
        invariant: which of :data:`landscape.results.sharpness.INVARIANCES` hold for every setting.
        core: whether ``core`` contains it.
        rho: size of the perturbation by default; None if the measure takes none.
        adaptive: further invariances that hold in the metric ``adaptive``.
        anytime: whether it fills the time that it gets: such measures are taken last.
        shares: name of the measure whose run it reads, so that it costs nothing after that one; "" if none.
        closed_form: whether ``benchmarks/closed_forms.py`` compares it with a closed form.
        after: name of the measure whose result it uses; if both are wanted, that one is taken first.
    """

    name: str
    function: Function
    larger: str
    invariant: tuple[str, ...] = ()
    core: bool = False
    rho: float | None = None
    adaptive: tuple[str, ...] = ()
    anytime: bool = False
    shares: str = ""
    closed_form: bool = False
    after: str = ""

    def invariances(self, metric: str) -> tuple[str, ...]:
        """Return what leaves this measure unchanged in a metric."""
        return (*self.invariant, *(self.adaptive if metric == "adaptive" else ()))


REGISTRY: dict[str, Definition] = {}  #: every measure that is known, in the order of docs/sharpness.md


def measure(
    name: str,
    *,
    larger: str,
    invariant: Sequence[str] = (),
    core: bool = False,
    rho: float | None = None,
    adaptive: Sequence[str] = (),
    anytime: bool = False,
    shares: str = "",
    closed_form: bool = False,
    after: str = "",
) -> Callable[[Decorated], Decorated]:
    """Return a decorator that makes a function of (objective, draws) a sharpness measure.

    Args:
        name: how it is called in tables: small letters, digits and hyphens.
        larger: what a larger value means: ``sharper`` or ``flatter``.
        invariant: which changes of a net leave it unchanged: some of ``relu-rescaling``, ``permutation``,
            ``logit-scale`` and ``batch-size``.
        core: whether ``measures="core"`` contains it.
        rho: size of its perturbation by default; None if it takes none.
        adaptive: further invariances in the metric ``adaptive``.
        anytime: whether it fills the time that it gets, so that the others come first.
        shares: name of the measure whose run it reads, so that it costs nothing after that one.
        closed_form: whether a closed form confirms it.
        after: name of the measure whose result it uses; if both are wanted, that one is taken first.

    Raises:
        LandscapeError: for another word, or a name that is taken by another function.

    >>> @measure("doc-norm", larger="sharper", invariant=("permutation",))
    ... def norm(objective, draws):
    ...     return float(objective.theta.norm())
    >>> REGISTRY.pop("doc-norm").invariances("identity")
    ('permutation',)
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise LandscapeError(f"{name!r} cannot be the name of a measure: use small letters, digits and hyphens.")
    if larger not in DIRECTIONS:
        raise LandscapeError(
            f"`larger` says what a larger value means: one of {', '.join(DIRECTIONS)}, not {larger!r}."
        )
    unknown = [word for word in (*invariant, *adaptive) if word not in INVARIANCES]
    if unknown:
        raise LandscapeError(f"the invariance {unknown[0]!r} is not known. Pass some of {', '.join(INVARIANCES)}.")

    def enter(function: Decorated) -> Decorated:
        known = REGISTRY.get(name)
        if known is not None and _origin(known.function) != _origin(function):
            raise LandscapeError(
                f"there is a measure {name!r} already, by {_origin(known.function)}. Use another name."
            )
        REGISTRY[name] = Definition(
            name,
            function,
            larger,
            tuple(invariant),
            core,
            rho,
            tuple(adaptive),
            anytime,
            shares,
            closed_form,
            after,
        )
        return function

    return enter


def find_measures(names: str | Sequence[str | Definition]) -> list[Definition]:
    """Return the measures of a list of names, of ``core`` or of ``all``; those of installed packages are loaded first.

    A definition in the list stands for itself, whether it is in the registry or not.

    Raises:
        LandscapeError: for an unknown name, or an empty list.
    """
    if not isinstance(names, str | Sequence):
        raise LandscapeError(f"`measures` must be 'core', 'all', or names, not {names!r}.")
    asked: list[str | Definition] = (
        [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
    )
    _load_entry_points()
    chosen: dict[str, Definition] = {}
    for name in asked:
        if isinstance(name, Definition):
            chosen[name.name] = name
        elif name in ("core", "all"):
            chosen |= {d.name: d for d in REGISTRY.values() if d.core or name == "all"}
        elif name in REGISTRY:
            chosen[name] = REGISTRY[name]
        else:
            raise LandscapeError(
                f"the measure {name!r} is not known. Pass core, all, or some of {', '.join(REGISTRY)}. A measure of "
                "your own comes from a file: file.py:function."
            )
    if not chosen:
        raise LandscapeError("there is no measure to take. Pass `measures='core'`, `'all'`, or names.")
    return list(chosen.values())


@cache
def _entry_points() -> tuple[metadata.EntryPoint, ...]:
    """Look through the installed packages, once: that takes longer than many a measure of a small net."""
    return tuple(metadata.entry_points(group=ENTRY_POINTS))


def _load_entry_points() -> None:
    for point in _entry_points():
        try:
            point.load()  # its decorators enter the measures
        except Exception as error:
            raise LandscapeError(
                f"the entry point {point.name} of {point.value} brings measures, and cannot be loaded ({error}).\n"
                "Repair or uninstall that package."
            ) from error


def _origin(function: Function) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
