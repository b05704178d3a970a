"""The search for the highest point of a ball, on quadratics whose highest point is known."""

import numpy as np
import pytest
import torch

from landscape.measures.ascent import Ball, Function, climb, largest_on_ball

N, CONDITION, GRADIENTS = 50, 1e3, 20


def quadratic(hessian, gradient):
    """Return g . u + u . Hu / 2, and a list with an entry for each gradient that is taken."""
    h, g, taken = torch.from_numpy(hessian), torch.from_numpy(gradient), []

    def value(u):
        return float(g @ u + u @ h @ u / 2)

    def slope(u):
        taken.append(u)
        return value(u), g + h @ u

    return Function(value, slope), taken


def random_hessian(seed, spectrum=np.geomspace):
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.standard_normal((N, N)))[0]
    return rotation * spectrum(1 / CONDITION, 1.0, N) @ rotation.T, generator


def search(hessian, gradient, ball, generator):
    function, taken = quadratic(hessian, gradient)
    zero = torch.zeros(len(gradient), dtype=torch.float64)
    peak = climb(function, ball, zero, GRADIENTS, lambda k: torch.from_numpy(generator.standard_normal(len(gradient))))
    assert len(taken) == peak.gradients <= GRADIENTS
    assert peak.rise == pytest.approx(function.value(peak.point), rel=1e-12)
    assert float(peak.point.norm() if ball.norm == "l2" else peak.point.abs().max()) <= ball.rho * (1 + 1e-12)
    return peak


@pytest.mark.parametrize("spectrum", [np.geomspace, np.linspace])
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_median_of_random_quadratics_is_995_thousandths_of_the_maximum(spectrum, adaptive, slope):
    ratios = []
    for seed in range(20):
        hessian, generator = random_hessian(seed, spectrum)
        scale = np.abs(generator.standard_normal(N)) if adaptive else np.ones(N)
        hessian = scale[:, None] * hessian * scale
        gradient = slope * scale * generator.standard_normal(N)
        best = largest_on_ball(hessian, gradient, 0.5)
        peak = search(hessian, gradient, Ball(0.5, "l2"), generator)
        ratios.append(peak.rise / (gradient @ best + best @ hessian @ best / 2))
    assert max(ratios) <= 1 + 1e-9
    assert np.median(ratios) >= 0.995


def test_a_box_has_its_peak_in_a_corner_if_no_entry_of_the_hessian_is_negative():
    generator = np.random.default_rng(0)
    hessian = np.abs(random_hessian(0)[0])
    peak = search(hessian, 0.01 * generator.random(N), Ball(0.5, "linf"), generator)
    assert peak.point.tolist() == [0.5] * N


def test_a_known_top_eigenvector_finds_the_peak_that_the_gradient_does_not_point_at():
    """The gradient lies along one eigenvector, so its Krylov space never leaves it."""
    hessian, gradient = np.diag([1.0, 3.0, 0.5]), np.array([0.1, 0.0, 0.0])
    (function, taken), zero = quadratic(hessian, gradient), torch.zeros(3, dtype=torch.float64)
    best = largest_on_ball(hessian, gradient, 2.0)
    truth = gradient @ best + best @ hessian @ best / 2

    def peak(top, gradients=GRADIENTS):
        return climb(function, Ball(2.0, "l2"), zero, gradients, lambda k: torch.ones(3), top)

    assert peak(None).rise == pytest.approx(2.2)
    for sign in (1.0, -1.0):
        taken.clear()
        known = peak(torch.tensor([0.0, sign, 0.0], dtype=torch.float64))
        assert known.rise == pytest.approx(truth, rel=1e-3)
        assert len(taken) == known.gradients < GRADIENTS
    assert peak(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).rise == pytest.approx(2.2)  # a worse one


def test_a_top_eigenvector_is_of_no_use_without_gradients_that_are_left():
    hessian, generator = random_hessian(0, np.linspace)
    function, taken = quadratic(hessian, np.zeros(N))
    top, noise = torch.linalg.eigh(torch.from_numpy(hessian))[1][:, -1], torch.from_numpy(generator.standard_normal(N))
    peak = climb(function, Ball(0.5, "l2"), torch.zeros(N, dtype=torch.float64), 5, lambda k: noise, top)
    assert len(taken) == peak.gradients == 5
    assert peak.values <= 1


def test_the_peak_of_a_hill_lies_inside_the_ball():
    hessian, gradient = -np.diag([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0])
    peak = search(hessian, gradient, Ball(5.0, "l2"), np.random.default_rng(0))
    assert peak.rise == pytest.approx(0.5 * (1 + 1 / 2 + 1 / 4), rel=1e-9)


def test_the_largest_value_of_a_small_quadratic_beats_every_other_point():
    generator = np.random.default_rng(1)
    for _ in range(50):
        matrix = generator.standard_normal((3, 3))
        matrix = matrix + matrix.T - generator.integers(0, 5) * np.eye(3)
        linear = generator.standard_normal(3) * generator.integers(0, 2)
        best = largest_on_ball(matrix, linear, 2.0)
        assert np.linalg.norm(best) <= 2 * (1 + 1e-9)
        others = generator.standard_normal((2_000, 3))
        others *= 2 * generator.random((2_000, 1)) / np.linalg.norm(others, axis=1, keepdims=True)
        values = others @ linear + ((others @ matrix) * others).sum(1) / 2
        assert best @ linear + best @ matrix @ best / 2 >= values.max() - 1e-9


def test_where_no_quadratic_fits_the_search_still_climbs_to_a_stationary_point():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(8, N, generator=generator, dtype=torch.float64)

    def value(u):
        return float(torch.logsumexp(3 * (weights @ u).tanh(), 0))

    def slope(u):
        u = u.detach().requires_grad_()
        rise = torch.logsumexp(3 * (weights @ u).tanh(), 0)
        return float(rise), torch.autograd.grad(rise, u)[0]

    ball = Ball(0.3, "l2")
    noise = torch.randn(N, generator=generator, dtype=torch.float64)
    peak = climb(Function(value, slope), ball, torch.zeros(N, dtype=torch.float64), 60, lambda k: noise)
    gradient = slope(peak.point)[1]
    assert float(gradient @ (ball.farthest(gradient) - peak.point)) < 0.01 * peak.rise


def test_an_infinite_value_ends_the_search():
    function = Function(lambda u: np.inf, lambda u: (np.inf if u.any() else 0.0, torch.ones(3)))
    peak = climb(function, Ball(1.0, "l2"), torch.zeros(3), 20, lambda k: torch.ones(3))
    assert (peak.rise, peak.gradients) == (np.inf, 2)
