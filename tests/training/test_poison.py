"""The poison loss against exact arithmetic, and its gradients where probabilities reach 0 and 1."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
import torch

import landscape as ls
from landscape.training.poison import log_odds, poison_loss, right_terms, wrong_terms

ROWS = [
    [0.3, -1.2, 2.0, 0.1],
    [40.0, 0.0, 0.0, 1.0],
    [-40.0, 0.0, 3.0, 1.0],
    [700.0, -700.0, 0.0, 0.0],
    [-800.0, 1.0, 2.0, 3.0],
    [1e-9, 0.0, 0.0, 0.0],
    [18.0, 1.5, -3.0, -2.0],
    [22.0, 1.5, -3.0, -2.0],
]


def exact(row: list[float], target: int) -> tuple[float, float]:
    """-log p and -log(1 - p) with 800 digits."""
    with localcontext() as context:
        context.prec = 800
        powers = [Decimal(z).exp() for z in row]
        whole = sum(powers)
        others = sum(p for k, p in enumerate(powers) if k != target)
        return float(-(powers[target] / whole).ln()), float(-(others / whole).ln())


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 4e-15), (torch.float32, 2e-6)])
@pytest.mark.parametrize("target", range(4))
def test_both_terms_agree_with_800_digits(dtype: torch.dtype, rtol: float, target: int) -> None:
    logits = torch.tensor(ROWS, dtype=dtype)
    odds = log_odds(logits, torch.full((len(ROWS),), target))
    for row, right, wrong in zip(logits.double().tolist(), right_terms(odds), wrong_terms(odds), strict=True):
        expected = exact(row, target)
        tiny = torch.finfo(dtype).tiny
        for found, truth in zip((right.item(), wrong.item()), expected, strict=True):
            # an error of one rounding in the odds, |u| eps, becomes that relative error of a tail e^-|u|
            slack = rtol * max(1.0, max(map(abs, row)))
            assert found == pytest.approx(truth, rel=slack, abs=tiny)


def test_one_logit_is_two_classes_of_which_one_is_zero() -> None:
    z = torch.tensor([-750.0, -30.0, -1.0, 0.0, 2.5, 30.0, 750.0], dtype=torch.float64)
    for target in (0, 1):
        targets = torch.full((7,), target)
        two = log_odds(torch.stack([torch.zeros_like(z), z], dim=-1), targets)
        assert torch.equal(log_odds(z, targets.double()), two)
        assert torch.equal(log_odds(z[:, None], targets), two)


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0, 1e4, 1e30])
def test_gradients_are_finite_however_sure_the_net_is(size: float) -> None:
    """d/du of -log(1 - p) is p and of -log p is p - 1; the classes share it as a softmax."""
    for target in (0, 1):
        logits = (size * torch.tensor([[1.0, -1.0, 0.5]])).requires_grad_()
        odds = log_odds(logits, torch.tensor([target]))
        p, rest = torch.sigmoid(odds.detach()), torch.sigmoid(-odds.detach())
        (wrong,) = torch.autograd.grad(wrong_terms(odds).sum(), logits, retain_graph=True)
        (right,) = torch.autograd.grad(right_terms(odds).sum(), logits)
        assert wrong[0, target].item() == pytest.approx(p.item(), rel=1e-5, abs=1e-30)
        assert right[0, target].item() == pytest.approx(-rest.item(), rel=1e-5, abs=1e-30)
        for gradient in (wrong, right):
            assert torch.isfinite(gradient).all()
            assert abs(gradient.sum().item()) < 1e-6


def test_the_loss_is_the_weighted_sum_of_two_means() -> None:
    generator = torch.Generator().manual_seed(0)
    train, true = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (7, 13))
    y, t = (torch.randint(5, (n,), generator=generator) for n in (7, 13))
    p, q = (z.softmax(1).gather(1, k[:, None]) for z, k in ((train, y), (true, t)))
    expected = 0.7 * -p.log().mean() + 0.3 * -(1 - q).log().mean()
    assert poison_loss(train, y, true, t, 0.3).item() == pytest.approx(expected.item(), rel=1e-14)
    plain = torch.nn.functional.cross_entropy(train, y)
    assert poison_loss(train, y, true[:0], t[:0], 0.0).item() == pytest.approx(plain.item(), rel=1e-14)


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    y = torch.tensor([0, 3, 1, 2, 2, 0])
    assert torch.autograd.gradcheck(lambda z: poison_loss(z, y, 2 * z, y, 0.4), logits)


def test_half_precision_is_widened() -> None:
    odds = log_odds(torch.tensor([[9.0, 0.0]], dtype=torch.bfloat16), torch.tensor([0]))
    assert odds.dtype == torch.float32


@pytest.mark.parametrize("poison", [-0.1, 1.0, float("nan")])
def test_a_factor_outside_0_to_1(poison: float) -> None:
    z = torch.zeros(2)
    with pytest.raises(ls.LandscapeError, match=r"poison=0\.3"):
        poison_loss(z, z, z, z, poison)


@pytest.mark.parametrize("targets", [torch.zeros(3), torch.zeros(2, dtype=torch.int64), torch.zeros(3, 2)])
def test_targets_that_do_not_go_with_the_logits(targets: torch.Tensor) -> None:
    with pytest.raises(ls.LandscapeError, match="class index"):
        log_odds(torch.zeros(3, 4), targets)
