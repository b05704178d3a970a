"""Which calls have a rule of their own on a tape of products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.curvature.autograd.cross_entropy_rule import cross_entropy_step, is_cross_entropy
from landscape.curvature.autograd.product_rules import Linear, Lookup, Node, Step


def has_rule(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether :func:`step_of` has a rule for a call."""
    if function is F.linear:
        return True
    if function in (torch.addmm, Tensor.addmm):
        return not kwargs and args[0].dim() == 1
    if function is F.embedding:
        plain = not kwargs.get("scale_grad_by_freq") and kwargs.get("max_norm") is None
        return plain and len(args) >= 2 and all(item in (None, False) for item in args[3:4]) and not any(args[5:])
    return is_cross_entropy(function, args, kwargs)


def step_of(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], y: Node, node_of: Callable[[Tensor], Node]
) -> Step:
    """Return the rule for a call with the output y; ``node_of`` gives the nodes of tensors."""
    if function is F.linear:
        named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        bias = named.get("bias")
        b = None if bias is None else node_of(bias)
        return Linear(node_of(named["input"]), node_of(named["weight"]), b, y, transposed=True)
    if function is F.embedding:
        padding = args[2] if len(args) > 2 else kwargs.get("padding_idx")
        return Lookup(args[0], node_of(args[1]), y, None if padding is None else padding % len(args[1]))
    if function is F.cross_entropy:
        return cross_entropy_step(args, kwargs, node_of(args[0] if args else kwargs["input"]), y)
    return Linear(node_of(args[1]), node_of(args[2]), node_of(args[0]), y, transposed=False)
