"""What in a forward pass may keep autograd from differentiating it: for error messages."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from landscape.curvature.checks.few_samples import FewSamples
from landscape.errors import CurvatureError
from landscape.objective.model import is_on

_OWN = (Path(__file__).parents[2], Path(torch.__file__).parent)
#: code that is not the user's; an environment may be reached through a link, and frames name the path of the link
_NOT_THE_USERS = (*map(str, _OWN), *(str(folder.resolve()) for folder in _OWN), "<")
_STOPS = {"detach", "detach_", "__get__"}
_STEPS = {"round", "round_", "floor", "ceil", "trunc", "sign", "argmax", "heaviside", "one_hot", "bernoulli"}
SKIP = "`check=False` skips this check; the numbers are then those of autograd."
_MOST = 3  # causes named in an error


class _Watch(TorchFunctionMode):
    """Notes the calls of a forward pass whose result autograd takes for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        flat = tree_flatten((args, kwargs or {}))[0]
        if not any(isinstance(item, Tensor) and item.requires_grad for item in flat) or not isinstance(result, Tensor):
            return result
        if not torch.is_grad_enabled():
            if not _in_custom_function():  # whose forward always runs so; its backward is named instead
                self._note("torch.no_grad()", _caller())
        elif name in _STOPS and (name != "__get__" or func is Tensor.data.__get__):  # type: ignore[attr-defined]
            self._note("detach()" if name != "__get__" else ".data", _caller())
        elif name in _STEPS or "fake_quantize" in name:
            self._note(f"{name}()", _caller())
        elif "embedding" in name and (kwargs or {}).get("max_norm") is not None:
            self._note("max_norm of an embedding, which is scaled without gradients,", _caller())
        return result

    def _note(self, what: str, where: str) -> None:
        self.found.setdefault(f"{what} in {where}" if where else what)


def refuse_fake_quantisation(model: nn.Module) -> None:
    """Refuse a network whose weights or activations are rounded to few levels in the forward pass.

    Its loss is a staircase. Autograd passes straight through the rounding, and a network in 32 bits, which all of these
    are, is compared with differences over many stairs only.

    Raises:
        CurvatureError: it says what to measure instead.
    """
    for name, module in model.named_modules():
        if is_on(module, "fake_quant_enabled"):
            raise CurvatureError(
                f"{name} rounds to few levels (fake quantisation), so the loss is a staircase without a second "
                "derivative. Autograd's would be that of another loss.\nSwitch it off to measure the network without "
                "rounding: model.apply(torch.ao.quantization.disable_fake_quant). Radii, slices and volumes need no "
                "derivative. " + SKIP
            )


def likely_causes(few: FewSamples, moves: Any, *, second: bool = False) -> str:
    """Return a sentence that names what in the forward pass may be the cause, with file and line."""
    watch = _Watch()
    custom = _custom_functions(few.watch(moves, watch))
    causes = [*custom, *watch.found] if second else [*watch.found, *custom]
    if causes:
        return f"Likely cause: {'; '.join(causes[:_MOST])}."
    if second:
        return "Likely cause: an operation whose rule for the second derivative is wrong."
    return "Likely cause: a stopped gradient (detach, no_grad, .item()), rounding, or a backward that is wrong."


def _custom_functions(total: Tensor) -> list[str]:
    """Return the operations in the graph whose backward is written in Python by someone else than this library."""
    waiting, seen = [total.grad_fn], set()
    found: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            found.setdefault(f"the backward of {type(node).__name__.removesuffix('Backward')}")
        waiting += [following for following, _ in node.next_functions]
    return list(found)


def _in_custom_function() -> bool:
    """Return whether the forward of an autograd function is being run."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == torch.autograd.function.__file__:
            return True
        first = frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))
        if isinstance(first, torch.autograd.function.FunctionCtx):  # torch 2.14 has no frame of its own around it
            return True
        frame = frame.f_back
    return False


def _caller() -> str:
    """Return the file and the line of the user's code that is being run, "" if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_NOT_THE_USERS):
            return f"{Path(file).name}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""
