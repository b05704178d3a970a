"""Gradients of models with activation checkpoints (``torch.utils.checkpoint``) or fused inference kernels.

A checkpoint throws activations away and computes them again in the backward pass. By then the model holds its own
parameters again, not those of the point that is measured; a reentrant checkpoint also hides them from
``torch.autograd.grad``. Both give wrong gradients without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch.utils.checkpoint


@contextmanager
def without_recomputation() -> Iterator[None]:
    """Keep all activations: within this context a checkpointed block runs as if it were not checkpointed."""
    with ExitStack() as stack:
        for name, part in _PARTS.items():
            if hasattr(torch.utils.checkpoint, name):
                stack.enter_context(mock.patch.object(torch.utils.checkpoint, name, part))
        yield


@contextmanager
def differentiable() -> Iterator[None]:
    """Run models in evaluation mode as in training, as far as gradients need it.

    Checkpointed blocks keep their activations. Transformer layers do not use torch's fused inference kernels, which
    have no derivative: within ``vmap`` torch does not see that a gradient is wanted.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with without_recomputation():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class _Plain:
    """Stands for the autograd function of a reentrant checkpoint."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args)


def _nothing_around(*args: Any, **kwargs: Any) -> Iterator[None]:
    """Stand for the generator around the block of a non-reentrant checkpoint."""
    yield


#: what checkpoint() looks up when it is called, and what takes its place
_PARTS = {
    "CheckpointFunction": _Plain,
    "_checkpoint_without_reentrant_generator": _nothing_around,  # up to torch 2.13
    "_checkpoint_without_reentrant_generator_impl": _nothing_around,  # from torch 2.14 on
}
