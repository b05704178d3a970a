"""Derivatives by torch between tensors of which some may not depend on others."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.objective.recomputation import differentiable


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Run attention, compiled modules and checkpointed blocks as plain operations, which have second derivatives."""
    # importing torch._dynamo takes seconds; whoever has compiled something has imported it
    compiled = "torch._dynamo" in sys.modules
    stance = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with sdpa_kernel(SDPBackend.MATH), differentiable(), stance:
        yield


def derivative(
    outputs: Sequence[Tensor | None],
    inputs: list[Tensor],
    vectors: Sequence[Any] | None,
    *,
    create_graph: bool = False,
    together: bool = False,
) -> list[Tensor | None]:
    """Return the derivatives of ``outputs`` by ``inputs``, one per input; None for an input without influence.

    Args:
        outputs: None and constants are left out.
        inputs: the tensors to differentiate by.
        vectors: the weight of each output, in its shape; None for scalar outputs.
        create_graph: whether the derivatives can be differentiated again.
        together: whether ``vectors`` hold k weights, stacked in front; the derivatives then do too.
    """
    weights = [None] * len(outputs) if vectors is None else vectors
    pairs = [(o, w) for o, w in zip(outputs, weights, strict=True) if o is not None and o.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    return list(
        torch.autograd.grad(
            [output for output, _ in pairs],
            inputs,
            None if vectors is None else [weight for _, weight in pairs],
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
            is_grads_batched=together,
        )
    )
