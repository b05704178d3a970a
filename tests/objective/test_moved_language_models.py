"""Language models of transformers: tied words, layers of their own kind, and bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.moved_weights import flat_step
from landscape.rays import metric_of, random_directions

GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 400, "n_positions": 12}
LLAMA = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 400, "max_position_embeddings": 12,
}  # fmt: skip


@pytest.fixture(scope="module")
def transformers() -> Any:
    """The package, which takes a second to import: only the worker of these tests needs it."""
    return pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("name", "options", "dtype", "rel"),
    [
        ("GPT2", GPT2, torch.float32, 1e-3),
        ("Llama", LLAMA, torch.float32, 1e-3),
        ("Llama", LLAMA, torch.bfloat16, 0.1),
    ],
)
def test_a_moved_point_has_the_loss_of_the_flat_vector(
    name: str, options: dict[str, int], dtype: torch.dtype, rel: float, transformers: Any
) -> None:
    """To ``rel`` of the rise."""
    torch.manual_seed(0)
    kind = getattr(transformers, f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    model = kind(getattr(transformers, f"{name}Config")(**options)).to(dtype).eval()
    ids = torch.randint(0, 400, (3, 10))
    flat, moved = (Objective(model, {"input_ids": ids, "labels": ids}, "model", flat=how) for how in (True, False))
    assert isinstance(moved.program, ModelProgram)
    assert not moved.program.in_place
    assert (moved.theta_hash, moved.centre) == (flat.theta_hash, pytest.approx(flat.centre, rel=1e-6))
    step = random_directions(moved, metric_of(moved, "filter"), 0).steps([0])
    vector = flat_step(step[0], moved.layout.entries, moved.device)
    radii = np.array([8.0])
    with flat.running(), moved.running():
        truth, value = flat.along(vector[None], radii).values, moved.along(step, radii).values
    assert abs(value - truth) < rel * abs(truth - flat.centre)
