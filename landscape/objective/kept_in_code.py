"""Whether the code of a model keeps what it made of a weight, from one pass to the next, where no module holds it.

A global, a variable of a closure, a default argument, an attribute of a class or an ``lru_cache`` may hold a transposed
weight, for instance. Then every point would be measured with what an earlier pass has left. Attributes of modules are
restored after each pass (:mod:`landscape.objective.module_state`), so they are no such place.

Code names what it can keep, so the places are found by name. Whether a place keeps something of a weight is tried: near
the trained point, the loss after it is emptied is compared with the loss before.
"""

from __future__ import annotations

import functools
import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import copied
from landscape.objective.losses.meanings import near_point
from landscape.objective.moved_weights import AnyPoint, PointList

_ALIKE = 1e-7  # relative: kernels may add in another order, if they run twice at one point
_LIBRARIES = ("builtins", "torch", "numpy", "landscape")  # their code keeps no weights of a model
_MOST = 2000  # functions, classes and objects that are looked at
_DEPTH = 3  # of containers in containers
_WRAPPERS = (MethodType, property, staticmethod, classmethod, functools.partial, functools._lru_cache_wrapper)


class Place(NamedTuple):
    """Where code holds a tensor.

    Attributes:
        name: in words.
        emptied: returns a context in which it holds nothing; its value tells whether something has come there since.
    """

    name: str
    emptied: Callable[[], AbstractContextManager[Callable[[], bool]]]


def refuse_kept_in_code(program: ModelProgram, theta: AnyPoint, *functions: Any) -> None:
    """Raise an error if model or loss keep what they made of a weight; call it after a pass.

    Models whose tensors cannot be replaced, or are shared by ranks, are not tried.

    Args:
        program: the model and its loss, on some samples.
        theta: the trained point.
        functions: the user's, for the forward pass and the loss; others are passed over.

    Raises:
        ObjectiveError: it names the place.
    """
    if program.scripted or program.sharded or not (places := list(places_of(program.model, functions))):
        return
    trial, near = program.with_batches((copied(program.batches[0]),)), near_point(theta, program.pairs)
    points = near[None] if isinstance(near, Tensor) else PointList([near], program.pairs[0][0].device)

    def loss() -> float:
        return float(trial.totals(points, 0)[0]) / trial.counts[0]

    with trial.running():
        for place in places:
            try:
                kept = loss()
                with place.emptied() as refilled:
                    made = loss()
                    again = refilled()
            except Exception:  # the model needs what is there, and does not make it; or the loss says why, later
                continue
            if again and abs(kept - made) > _ALIKE * max(abs(kept), abs(made)):
                raise ObjectiveError(
                    f"the model or the loss keeps what it made of its weights in {place.name}. So near the trained "
                    f"point the loss would be {kept:.6g}. It is {made:.6g} if that is made again.\nMake it in each "
                    "pass, or keep it in an attribute of a module: those are restored after each pass."
                )


def places_of(model: nn.Module, functions: Iterable[Any] = ()) -> Iterator[Place]:
    """Yield the places outside of modules where the code of a model, and other functions, hold a tensor now."""
    todo = deque[tuple[str, Any]]((getattr(each, "__name__", "a function"), each) for each in functions)
    for module in model.modules():
        own = [*vars(module).values(), *module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        todo += [("a hook", each) for each in own if isinstance(each, FunctionType | MethodType | functools.partial)]
        todo.append((type(module).__name__, type(module)))
    seen: dict[int, Any] = {}  # the things themselves, so that none is freed and its number given to another
    while todo and len(seen) < _MOST:
        name, thing = todo.popleft()
        if id(thing) in seen or _of_library(thing):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, functools._lru_cache_wrapper) and _holds_tensor(gc.get_referents(thing)):
            yield Place(f"the cache of the function {name}", functools.partial(_without_results, thing))
        for where, value, write in _named_by(name, thing):
            if isinstance(value, Tensor):
                yield Place(where, functools.partial(_without_value, value, write))
            elif type(value) in (dict, list) and _holds_tensor([value]):
                yield Place(where, functools.partial(_without_items, value))
            elif not isinstance(value, nn.Module | ModuleType):
                todo.append((where, value))


#: a value that code names: where, in words; the value; how to read it again and how to replace it
Named = tuple[str, Any, tuple[Callable[[], Any], Callable[[Any], None]]]


def _named_by(name: str, thing: Any) -> Iterator[Named]:
    """Yield what this function, class or object is made of, or names."""
    if isinstance(thing, FunctionType):
        yield from _named_by_function(name, thing)
    elif isinstance(thing, type):
        for kind in thing.__mro__:
            if not _of_library(kind):
                for key, value in list(vars(kind).items()):
                    access = functools.partial(getattr, kind, key), functools.partial(setattr, kind, key)
                    yield f"the attribute {key} of the class {kind.__name__}", value, access
    elif isinstance(thing, _WRAPPERS):
        parts = (getattr(thing, key, None) for key in ("__func__", "__wrapped__", "func", "fget"))
        yield from ((name, part, _FIXED) for part in parts if part is not None)
    else:
        for key, value in list(getattr(thing, "__dict__", {}).items()):
            access = functools.partial(getattr, thing, key), functools.partial(setattr, thing, key)
            yield f"the attribute {key} of {name}", value, access
        yield type(thing).__name__, type(thing), _FIXED


def _named_by_function(name: str, function: FunctionType) -> Iterator[Named]:
    held, code = function.__globals__, function.__code__
    for key in _names(code):
        if key in held:
            yield (
                f"the global {key}",
                held[key],
                (functools.partial(held.get, key), functools.partial(held.__setitem__, key)),
            )
    for key, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            read, write = (
                functools.partial(getattr, cell, "cell_contents"),
                functools.partial(setattr, cell, "cell_contents"),
            )
            yield f"the variable {key} around the function {name}", cell.cell_contents, (read, write)
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"a default argument of the function {name}", value, _FIXED


_FIXED = (lambda: None, lambda value: None)  # access to what cannot be replaced


def _names(code: CodeType) -> set[str]:
    """Return the names that code reads, that of functions within it included."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _of_library(thing: Any) -> bool:
    """Whether this is a number, a word, or code of a library that keeps no weights."""
    named = isinstance(thing, type | FunctionType)
    module = thing.__module__ if named else type(thing).__module__
    return not isinstance(thing, _WRAPPERS) and str(module).partition(".")[0] in _LIBRARIES


def _holds_tensor(values: Iterable[Any], depth: int = _DEPTH) -> bool:
    """Whether there is a tensor among these, or in dicts, lists and tuples of them."""
    return any(
        isinstance(each, Tensor)
        or (depth > 0 and isinstance(each, dict) and _holds_tensor(list(each.values()), depth - 1))
        or (depth > 0 and isinstance(each, list | tuple) and _holds_tensor(each, depth - 1))
        for each in values
    )


@contextmanager
def _without_value(
    value: Tensor, access: tuple[Callable[[], Any], Callable[[Any], None]]
) -> Iterator[Callable[[], bool]]:
    read, write = access
    write(None)
    try:
        yield lambda: read() is not None
    finally:
        write(value)


@contextmanager
def _without_items(held: Any) -> Iterator[Callable[[], bool]]:
    before = held.copy()
    held.clear()
    try:
        yield lambda: bool(held)
    finally:
        held.clear()
        if isinstance(held, dict):
            held.update(before)
        else:
            held.extend(before)


@contextmanager
def _without_results(function: Any) -> Iterator[Callable[[], bool]]:
    function.cache_clear()
    try:
        yield lambda: function.cache_info().currsize > 0
    finally:
        function.cache_clear()  # what it holds now belongs to another point
