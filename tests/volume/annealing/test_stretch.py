"""A stretch shrinks the directions in which scores are large, and chance makes none of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.volume.annealing.stretch import LinearChange, Scaling, Scores, ScoreVariances, Stretch, Symmetric

N = 40


def scores_of(moments: np.ndarray, count: int, seed: int) -> torch.Tensor:
    """Return normal scores with these second moments over n, in rotated axes."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(N, N)))
    return torch.from_numpy(rng.normal(size=(count, N)) * np.sqrt(N * moments) @ axes.T)


def test_invert_undoes_apply() -> None:
    vectors, _ = torch.linalg.qr(torch.randn(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    stretch = Stretch(vectors, torch.tensor([0.1, 2.0, 0.5], dtype=torch.float64))
    x = torch.randn(5, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(stretch.invert(stretch.apply(x)), x)
    assert torch.allclose(stretch.apply(vectors.T), stretch.lengths[:, None] * vectors.T)


def changes() -> dict[str, LinearChange]:
    """Return changes of coordinates whose lengths go down to a thousandth."""
    generator = torch.Generator().manual_seed(0)
    vectors, _ = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64, generator=generator))
    lengths = torch.logspace(-3, 0, N, dtype=torch.float64)
    return {"whole": Symmetric.of(vectors, lengths), "directions": Stretch(vectors, lengths), "each": Scaling(lengths)}


@pytest.mark.parametrize("name", changes())
def test_a_rounded_change_is_off_by_single_precision(name: str) -> None:
    """It turns back what the exact one has turned, and both have the transpose that they say."""
    change = changes()[name]
    x, y = torch.randn(2, 5, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact, rounded = change.apply(x), change.rounded().apply(x)
    assert rounded.dtype == torch.float64
    assert torch.allclose(change.invert(exact), x)
    assert (rounded - exact).abs().max() < 1e-5
    assert torch.allclose((exact * y).sum(1), (x * change.transpose_apply(y)).sum(1))


def test_narrow_directions_are_found_with_their_lengths() -> None:
    moments = np.ones(N)
    moments[:2] = 100.0, 400.0
    scores = Scores(most=4000, rank=10)
    scores.add(scores_of(moments, 4000, 0))
    stretch = scores.learn(None)
    assert stretch is not None
    assert len(stretch.lengths) == 2
    # 2,000 scores give each moment with a relative error of sqrt(2 / 2000), so lengths within 5 sigma
    error = 5 * 0.5 * np.sqrt(2 / 2000)
    assert np.allclose(np.sort(stretch.lengths.numpy()), [1 / 20, 1 / 10], rtol=error)


def test_coordinates_that_are_narrow_still_are_scaled() -> None:
    """There are more of them than directions that may be kept."""
    moments = np.ones(N)
    moments[::4] = 100.0
    scores = Scores(most=4000, rank=4)
    scores.add(torch.from_numpy(np.random.default_rng(0).normal(size=(4000, N)) * np.sqrt(N * moments)))
    stretch = scores.learn(None)
    assert stretch is not None
    lengths = torch.linalg.vector_norm(stretch.apply(torch.eye(N, dtype=torch.float64)), dim=1).numpy()
    # all ten are short, whether by a direction, by the scale or by some of both
    assert (lengths[::4] < 0.3).all()
    assert np.allclose(np.delete(lengths, np.s_[::4]), 1.0, atol=0.1)


def test_a_map_of_directions_and_coordinates_is_undone_and_transposed() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, _ = torch.linalg.qr(torch.randn(N, 3, dtype=torch.float64, generator=generator))
    scale = torch.linspace(0.1, 1.0, N, dtype=torch.float64)
    stretch = Stretch(vectors, torch.tensor([0.1, 2.0, 0.5], dtype=torch.float64), scale)
    x, y = torch.randn(2, 5, N, dtype=torch.float64, generator=generator)
    assert torch.allclose(stretch.invert(stretch.apply(x)), x)
    assert torch.allclose((stretch.apply(x) * y).sum(1), (x * stretch.transpose_apply(y)).sum(1))


def test_chance_alone_makes_no_direction_narrow() -> None:
    for seed in range(20):
        scores = Scores(most=200, rank=60)
        scores.add(scores_of(np.ones(N), 200, seed))
        assert scores.learn(None) is None


def test_one_wild_score_makes_no_direction_narrow() -> None:
    wild = scores_of(np.ones(N), 200, 3)
    wild[0] *= 1000.0
    wild[1] = wild[0]
    scores = Scores(most=200, rank=10)
    scores.add(wild)
    assert scores.learn(None) is None


def test_few_new_scores_change_nothing() -> None:
    moments = np.ones(N)
    moments[0] = 100.0
    scores = Scores(most=300, rank=10)
    scores.add(scores_of(moments, 300, 0))
    old = scores.learn(None)
    scores.add(scores_of(np.ones(N), 10, 1))
    assert scores.learn(old) is old


def test_a_scaling_is_learnt_from_how_scores_vary_and_not_from_their_mean() -> None:
    moments = np.ones(N)
    moments[:2] = 99.0, 399.0
    drift = 1000.0 * torch.arange(N, dtype=torch.float64)
    lessons, rng = ScoreVariances(), np.random.default_rng(0)
    for _ in range(100):
        lessons.add(torch.from_numpy(rng.normal(size=(400, N)) * np.sqrt(N * moments)) + drift)
    scaling = lessons.learn(None)
    assert isinstance(scaling, Scaling)
    # about (1 + 0.9) / (1 - 0.9) additions of 400 count: 5 sigma of a variance from 7,600 scores
    assert np.allclose(scaling.lengths.numpy(), (1 + moments) ** -0.5, rtol=5 * 0.5 * np.sqrt(2 / 7600))
    assert lessons.learn(scaling) is scaling


def test_a_scaling_is_undone() -> None:
    scaling = Scaling(torch.linspace(0.1, 1.0, N, dtype=torch.float64))
    x = torch.randn(5, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(scaling.invert(scaling.apply(x)), x)
    assert torch.allclose(scaling.apply(torch.ones(1, N, dtype=torch.float64))[0], scaling.lengths)
