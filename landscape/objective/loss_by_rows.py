"""Cross-entropy of many classes, some rows at a time, to the same last bit as torch's.

torch makes the logarithms of the probabilities of all classes at once: as much memory again as the logits, which are
the largest activation of a language model. Fresh memory of that size also costs more time than the logarithms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_AT_ONCE = 2**20  # logits whose logarithms exist at a time
_MANY = 2**22  # logits: for fewer, torch's own memory comes from what was freed before
_NEVER = -100  # a class that no target has


class LossByRows(TorchFunctionMode):
    """Within it, ``torch.nn.functional.cross_entropy`` of many logits takes some rows at a time, without gradients."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.cross_entropy:
            value = _by_rows(*args, **kwargs)
            if value is not None:
                return value
        return func(*args, **kwargs)


def _by_rows(
    logits: Any,
    target: Any,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor | None:
    """Return what ``functional.cross_entropy`` returns for class indices; None if it is to be asked itself."""
    plain = type(logits) is type(target) is Tensor and weight is size_average is reduce is None and not label_smoothing
    if not plain or torch.is_grad_enabled() or logits.dim() != 2 or logits.numel() < _MANY:
        return None
    if target.shape != logits.shape[:1] or target.dtype != torch.int64:
        return None
    if torch.is_autocast_enabled(logits.device.type) or any(map(is_functorch_wrapped_tensor, (logits, target))):
        return None  # autocast computes the loss as a whole in float32, and a batch has no numbers to look at
    left_out = target == ignore_index
    wanted = target.where(~left_out, 0)
    if not bool(((wanted >= 0) & (wanted < logits.shape[1])).all()):  # torch says what is wrong
        return None
    rows = max(1, _AT_ONCE // logits.shape[1])
    pairs = zip(logits.split(rows), wanted[:, None].split(rows), strict=True)
    taken = torch.cat([torch.log_softmax(piece, 1).gather(1, classes) for piece, classes in pairs])
    # as if each row had one class alone: so torch adds them up in its own order
    return functional.nll_loss(taken, torch.zeros_like(target).where(~left_out, _NEVER), reduction=reduction)
