"""Slices of large models: the numbers of flat vectors, for every direction that needs none."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from landscape import slice_1d, slice_2d
from landscape.errors import LandscapeError, ObjectiveError
from landscape.objective import Objective
from landscape.rays.entries import GENERATOR
from landscape.slices.slices import _axes, _Choice


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.BatchNorm1d(7), nn.Linear(7, 3)).eval()


def pair(scope: str = "all", dtype: torch.dtype | None = None) -> tuple[Objective, Objective]:
    model = net()
    data = torch.randn(30, 5), torch.randint(0, 3, (30,))
    return tuple(Objective(model, data, scope=scope, dtype=dtype, lanes=1, flat=flat) for flat in (True, False))  # type: ignore[return-value]


def others(count: int) -> list[nn.Module]:
    moved = [copy.deepcopy(net()) for _ in range(count)]
    for number, model in enumerate(moved):
        torch.manual_seed(number + 1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return moved


def same(one: Any, other: Any) -> None:
    assert other.loss == pytest.approx(one.loss, rel=1e-5)
    assert np.array_equal(other.accuracy, one.accuracy)


def test_lines_and_planes_toward_others_are_those_of_flat_vectors() -> None:
    flat, large = pair()
    line, own = (slice_1d(of, direction="toward", other=others(1)[0], steps=5) for of in (flat, large))
    same(line, own)
    assert (own.config, own.length) == (line.config, pytest.approx(line.length, rel=1e-6))
    for orthogonal in (False, True):
        options: dict[str, Any] = {"directions": "toward", "others": others(2), "steps": 3, "orthogonal": orthogonal}
        plane, mine = (slice_2d(of, **options) for of in (flat, large))
        same(plane, mine)
        assert mine.points == pytest.approx(plane.points, abs=1e-6)
        assert mine.cosine == pytest.approx(plane.cosine, abs=1e-6)


def test_given_vectors_and_curvature() -> None:
    flat, large = pair()
    vector = 0.1 * torch.randn(flat.layout.size)
    line, own = (slice_1d(of, direction=vector, steps=3, curvature=True) for of in (flat, large))
    same(line, own)
    assert own.curvature == pytest.approx(line.curvature, rel=1e-3)
    assert own.config == line.config


@pytest.mark.parametrize("name", ["random", "li2018"])
def test_random_axes_are_made_by_entry(name: str) -> None:
    flat, large = pair("weights")
    axes = _axes(large, name, 2, _Choice("filter", 0, name == "random", (), None, {}))
    vectors = torch.stack([axes.flat(0), axes.flat(1)])
    if name == "li2018":
        for entry in large.scope.entries:
            weights, steps = (
                each[..., entry.start : entry.stop].view(-1, *entry.shape) for each in (large.theta, vectors)
            )
            assert torch.allclose(steps.norm(dim=2), weights.norm(dim=2).expand(2, -1), rtol=1e-5)
    assert axes.lengths == pytest.approx(vectors.norm(dim=1).numpy(), rel=1e-6)
    own = slice_2d(large, directions=name, steps=3, orthogonal=name == "random")
    plane = slice_2d(flat, directions=vectors, steps=3)
    same(plane, own)
    assert own.config["generator"] == GENERATOR


def test_a_plane_is_orthogonal_in_the_metric() -> None:
    _, large = pair("weights")
    axes = _axes(large, "random", 2, _Choice("identity", 0, True, (), None, {}))
    assert axes.cosine == pytest.approx(0.0, abs=1e-7)
    assert axes.lengths == pytest.approx([1.0, 1.0], rel=1e-6)


def test_a_line_continues_with_the_generator_of_its_file() -> None:
    flat, large = pair()
    whole = slice_1d(large, steps=5)
    half = copy.copy(whole)
    object.__setattr__(half, "done", np.array([True, True, False, False, False]))
    assert np.array_equal(slice_1d(large, steps=5, resume=half).loss, whole.loss)
    old = slice_1d(flat, steps=5)
    again = slice_1d(large, steps=5, resume=old)
    assert "generator" not in again.config
    with pytest.raises(LandscapeError, match="generator: stored 'philox"):
        slice_1d(flat, steps=5, resume=whole)


def test_statistics_of_batch_normalisation_are_estimated_at_each_point() -> None:
    flat, large = pair()
    line, own = (
        slice_1d(of, direction="toward", other=others(1)[0], steps=3, recalibrate_bn=True) for of in (flat, large)
    )
    same(line, own)


def test_misuse_is_one_clear_error() -> None:
    _, large = pair("weights")
    with pytest.raises(ObjectiveError, match="outside the scope 'weights'"):
        slice_1d(large, direction="toward", other=others(1)[0], steps=3)
    with pytest.raises(ObjectiveError, match="joins this checkpoint and one other"):
        slice_1d(large, direction="toward", steps=3)
    with pytest.raises(ObjectiveError, match="same weights as this one"):
        slice_1d(large, direction="toward", other=net(), steps=3)
    with pytest.raises(ObjectiveError, match="must have shape"):
        slice_1d(large, direction=torch.ones(3), steps=3)
    with pytest.raises(ObjectiveError, match="does not fit"):
        slice_1d(large, direction="toward", other=nn.Linear(2, 2), steps=3)
    with pytest.raises(ObjectiveError, match="uses none"):
        slice_1d(large, other=net(), steps=3)
    with pytest.raises(ObjectiveError, match="needs flat vectors"):
        slice_2d(large, directions="li2018", orthogonal=True, steps=3)
    with pytest.raises(ObjectiveError, match="one line"):
        slice_2d(pair()[1], directions=torch.ones(2, large.layout.size), steps=3)
    with pytest.raises(ObjectiveError, match="zero, or holds NaN or infinite"):
        slice_1d(large, direction=torch.zeros(large.layout.size), steps=3)
    with pytest.raises(ObjectiveError, match="there are none, or all are zero"):
        slice_1d(pair("0.bias")[1], direction="li2018", steps=3)
    with pytest.raises(ObjectiveError, match="does not fit"):
        slice_1d(pair()[1], direction="toward", other=torch.ones(3), steps=3)
    with pytest.raises(ObjectiveError, match="the training has diverged"):
        slice_1d(pair()[1], direction="toward", other=torch.full((large.layout.size,), torch.nan), steps=3)


def test_another_checkpoint_may_be_a_flat_vector() -> None:
    flat, large = pair()
    vector = torch.cat([parameter.detach().reshape(-1) for parameter in others(1)[0].parameters()])
    same(*(slice_1d(of, direction="toward", other=vector, steps=3) for of in (flat, large)))


def test_rows_of_an_embedding_move_as_in_flat_vectors() -> None:
    """A pass reads a fifth of its rows at most, and only they are moved: along others, given and combined steps."""

    def words() -> nn.Module:
        return nn.Sequential(nn.Embedding(300, 4), nn.Flatten(), nn.Linear(12, 3))

    torch.manual_seed(0)
    model, first, second = words(), words(), words()
    data = torch.randint(0, 7, (20, 3)), torch.randint(0, 3, (20,))
    flat, large = (Objective(model, data, scope="all", lanes=1, flat=flat) for flat in (True, False))
    for options in ({"orthogonal": True}, {}):
        same(*(slice_2d(of, directions="toward", others=[first, second], steps=3, **options) for of in (flat, large)))
    vector = torch.randn(large.layout.size)
    same(*(slice_1d(of, direction=vector, steps=3) for of in (flat, large)))
