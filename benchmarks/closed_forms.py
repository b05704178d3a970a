"""Compare every sharpness measure with its closed form: the table in docs/sharpness.md.

    python -m benchmarks.closed_forms --page

Quadratics around a trained point, softmax and linear regression, and bias-free ReLU nets, all in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import landscape as ls
from benchmarks.page import ROOT, command_line, put_section

PAGE = ROOT / "docs" / "sharpness.md"
HEADING = "Closed forms"
RHO, DRAWS, NBETA, GAMMA, CUTOFF = 0.2, 2_000, 1_000.0, 1.0, 0.5


@dataclass(frozen=True)
class Case:
    """A measure and what it must give.

    Attributes:
        measure: what came out.
        form: the closed form in words.
        truth: its value.
    """

    measure: ls.Measure
    form: str
    truth: float

    @property
    def agrees(self) -> bool:
        """Whether the value is within four standard errors, or within 1e-6 of the truth if nothing is random."""
        error = self.measure.standard_error
        room = 4 * error if error > 0 else 0.0
        if self.measure.verdict == "lower bound":
            return (1 - 5e-3) * self.truth <= self.measure.value <= (1 + 1e-9) * self.truth
        return abs(self.measure.value - self.truth) <= max(room, 1e-6 * abs(self.truth))


def cases() -> Iterator[Case]:
    """Measure every case."""
    yield from on_a_quadratic()
    yield from on_regressions()
    yield from on_linear_nets()


def on_a_quadratic(n: int = 30) -> Iterator[Case]:
    """Measure 1/2 (w - w0)' H (w - w0) at w0, with H entrywise at least 0 and of condition about 100."""
    generator = np.random.default_rng(7)
    factor = generator.random((n, n)) * np.geomspace(0.05, 0.5, n)
    hessian, w = factor @ factor.T + 0.02 * np.eye(n), generator.standard_normal(n)
    h, eigenvalues = np.diag(hessian), np.linalg.eigvalsh(hessian)
    objective = quadratic(hessian, w)
    forms = {
        "average-case": ("½ rho² Σ c² h", RHO**2 / 2 * float((w**2 * h).sum())),
        "average-case-uniform": ("a third of it", RHO**2 / 6 * float((w**2 * h).sum())),
        "worst-case-l2": ("½ rho² λmax(C H C)", RHO**2 / 2 * np.linalg.eigvalsh(w[:, None] * hessian * w)[-1]),
        "lambda-max": ("λmax(C H C)", np.linalg.eigvalsh(np.abs(w)[:, None] * hessian * np.abs(w))[-1]),
        "trace": ("Σ c² h", float((w**2 * h).sum())),
        "frobenius": ("Frobenius norm of C H C", float(np.linalg.norm(w[:, None] * hessian * w))),
    }
    table = ls.sharpness(objective, list(forms), metric="adaptive", rho=RHO, draws=DRAWS, budget=None)
    yield from (Case(table[name], form, truth) for name, (form, truth) in forms.items())
    step = 1e-3 * (np.abs(w) + 1)
    forms = {
        "worst-case-linf": ("½ rho² Σ h_ij (H ≥ 0)", RHO**2 / 2 * float(hessian.sum())),
        "pac-bayes": ("tr H / (2 · 0.1)", float(h.sum()) / 0.2),
        "pac-bayes-magnitude": ("by σ² Σ w² h + ε² tr H = 0.2", float((w**2 * h).sum()) / (0.2 - 1e-6 * h.sum())),
        "llc": ("½ Σ nβ λ / (nβ λ + γ)", 0.5 * float((NBETA * eigenvalues / (NBETA * eigenvalues + GAMMA)).sum())),
        "low-pass": ("½ rho² tr H", RHO**2 / 2 * float(h.sum())),
        "local-entropy": ("½ log det(1 + H / γ)", 0.5 * float(np.log1p(eigenvalues / 100).sum())),
    }
    options: dict[str, Any] = {"rho": RHO, "draws": DRAWS, "nbeta": NBETA, "gamma": GAMMA}
    table = ls.sharpness(objective, list(forms), budget=None, **options)
    yield from (Case(table[name], form, truth) for name, (form, truth) in forms.items())
    small = hessian[:4, :4]
    volume = ls.sharpness(quadratic(small, w[:4]), "log-volume", cutoff=CUTOFF, volume_budget=20_000)["log-volume"]
    yield Case(volume, "log V of an ellipsoid, n = 4", log_ellipsoid(np.linalg.eigvalsh(small)))
    keskar = ls.sharpness(objective, "keskar", rho=1e-3)["keskar"]
    yield Case(keskar, "100 · ½ sᵀ H s, s the box", 50 * float(step @ hessian @ step))
    slope = generator.standard_normal(n)
    tilted = ls.sharpness(quadratic(hessian, w, slope), ["critical", "gradient-norm"])
    yield Case(tilted["critical"], "gᵀ H g / |g|²", float(slope @ hessian @ slope / (slope @ slope)))
    yield Case(tilted["gradient-norm"], "|g|", float(np.linalg.norm(slope)))


def on_regressions() -> Iterator[Case]:
    """Measure softmax regression and linear regression."""
    model, generator = filled(nn.Linear(6, 4))
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    objective = ls.Objective(model, (x, torch.arange(30) % 4))
    weight, p = model.weight.detach(), model(x).softmax(-1).detach()
    spread = p @ weight.square().sum(1) - (p @ weight).square().sum(1)
    flatness = ls.sharpness(objective, "relative-flatness", probes=20)["relative-flatness"]
    yield Case(flatness, "softmax regression", float((x.square().sum(1) * spread).mean()))
    model, generator = filled(nn.Linear(3, 1, bias=False))
    y = torch.randn(30, 1, generator=generator, dtype=torch.float64)
    gradients = (2 * (model(x[:, :3]) - y) * x[:, :3]).detach().numpy()
    mean = gradients.mean(0)
    noise = ls.sharpness(ls.Objective(model, (x[:, :3], y), "mse"), "noise-scale")["noise-scale"]
    yield Case(noise, "linear regression", float(np.trace(np.cov(gradients.T)) / (mean @ mean)))


def on_linear_nets() -> Iterator[Case]:
    """Measure nets without biases: norms by their definition, and both sides of the Fisher-Rao identity."""
    model, generator = filled(nn.Sequential(nn.Linear(4, 5, False), nn.Linear(5, 3, False)))
    x, y = torch.randn(12, 4, generator=generator, dtype=torch.float64), torch.arange(12) % 3
    first, second = (layer.weight.detach() for layer in model)
    start = torch.zeros_like(torch.cat([first.flatten(), second.flatten()]))
    logits = model(x).detach()
    others = logits.masked_fill(nn.functional.one_hot(y, 3).bool(), -math.inf).amax(1)
    margins = (logits.gather(1, y[:, None])[:, 0] - others).numpy()
    spectral = [float(torch.linalg.matrix_norm(weight, 2)) for weight in (first, second)]
    forms = {
        "margin": ("its 10th percentile", float(np.quantile(margins, 0.1))),
        "spectral-product": ("Π of spectral norms", math.prod(spectral)),
        "frobenius-product": ("Π of Frobenius norms", float(first.norm() * second.norm())),
        "path-norm": ("root of 1ᵀ W₂² W₁² 1", float((second.square() @ first.square()).sum().sqrt())),
        "distance": ("|w - start|", float(math.hypot(float(first.norm()), float(second.norm())))),
        "fisher-rao": ("θᵀ F θ by the gradients of the samples", fisher_form(model, x, y)),
    }
    table = ls.sharpness(ls.Objective(model, (x, y)), list(forms), start=start)
    yield from (Case(table[name], form, truth) for name, (form, truth) in forms.items())


def quadratic(hessian: np.ndarray, w: np.ndarray, slope: np.ndarray | None = None) -> ls.Objective:
    """Return g · (x - w) + 1/2 (x - w)' H (x - w) at w."""
    matrix, centre = torch.from_numpy(hessian), torch.from_numpy(w)
    gradient = torch.zeros_like(centre) if slope is None else torch.from_numpy(slope)

    def loss(points: Tensor) -> Tensor:
        step = points - centre
        return 0.5 * ((step @ matrix) * step).sum(-1) + step @ gradient

    return ls.Objective.from_function(loss, centre)


def log_ellipsoid(eigenvalues: np.ndarray) -> float:
    """Return log V of 1/2 x' H x < CUTOFF."""
    n = len(eigenvalues)
    return n / 2 * math.log(2 * math.pi * CUTOFF) - math.lgamma(n / 2 + 1) - 0.5 * float(np.log(eigenvalues).sum())


def fisher_form(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the mean of (gradient · weights)² over the samples."""
    weights = list(model.parameters())
    forms = []
    for i in range(len(x)):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), weights)
        forms.append(sum(float((g * w).detach().sum()) for g, w in zip(gradients, weights, strict=True)) ** 2)
    return float(np.mean(forms))


def filled(model: Any) -> tuple[Any, torch.Generator]:
    """Return the model in float64 with normal weights, and the generator that made them."""
    generator = torch.Generator().manual_seed(3)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model, generator


def section(measured: list[Case]) -> list[str]:
    """Return the table."""
    lines = [
        "Made by `python -m benchmarks.closed_forms --page`. A value must be within four standard errors of its closed "
        "form. A lower bound must reach 99.5 % of it.",
        "",
        "| measure | closed form | truth | value | std. error | agrees |",
        "|---|---|---|---|---|---|",
    ]
    for case in measured:
        own, word = case.measure, "yes" if case.agrees else "NO"
        form = case.form.replace("|", "\\|")
        numbers = f"{case.truth:.6g} | {own.value:.6g} | {own.standard_error:.1g}"
        lines.append(f"| `{own.name}` | {form} | {numbers} | {word} |")
    return lines


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--page", action="store_true", help="put the table into docs/sharpness.md")
    page = parser.parse_args().page
    lines = section(list(cases()))
    print("\n".join(lines))
    if page:
        put_section(HEADING, lines, PAGE)
