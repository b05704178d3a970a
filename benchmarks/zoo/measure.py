"""What is measured on each model of the zoo, and how each number is checked against the model's own loss."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

import landscape as ls
from benchmarks.zoo.trial import Build, Trial
from landscape.objective.moved_weights import flat_step
from landscape.rays import metric_of, random_directions
from landscape.results.volume import Volume

COLUMNS = ("centre", "product", "radius", "slice", "volume", "untouched")
RAYS: dict[str, Any] = {"criterion": "rise", "directions": 2}
RIGHT, REFUSED, WRONG, TRACEBACK = "right", "refused", "WRONG", "TRACEBACK"


@dataclass(frozen=True)
class Row:
    """The outcome of one model.

    Attributes:
        name: of the model.
        cells: one outcome for each of :data:`COLUMNS`, then what was said or found.
        size: number of parameters.
        seconds: of all measurements.
        date: of the measurement, as YYYY-MM-DD.
    """

    name: str
    cells: dict[str, tuple[str, str]]
    size: int
    seconds: float
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))

    @property
    def sound(self) -> bool:
        """Whether every cell is right or a refusal."""
        return all(outcome in (RIGHT, REFUSED) for outcome, _ in self.cells.values())


def measured(name: str, build: Build) -> Row:
    """Build a model, measure it, and check every number."""
    torch.manual_seed(0)
    started = time.perf_counter()
    try:
        trial = build()
        with torch.no_grad():
            want = float(trial.own(evaluating(trial.model, trial), trial.batch))
    except Exception:  # a package of another version: said, and the others are measured
        return Row(name, {"centre": (TRACEBACK, "not built: " + traceback.format_exc(limit=-1))}, 0, 0.0)
    before = fingerprint(trial)
    objectives: list[ls.Objective] = []

    def centre() -> str:
        objectives.append(objective_of(trial))
        return compare(objectives[0].centre, want, rounding(trial.model))

    @cache
    def rays() -> ls.Radii:
        return ls.basin_radii(objectives[0], [cutoff_of(want)], **RAYS)

    cells = {"centre": outcome(centre)}
    checks: dict[str, Callable[[ls.Objective], str]] = {
        "product": lambda _: product(trial),
        "radius": lambda objective: radius(trial, objective, want, rays()),
        "slice": lambda objective: line(trial, objective),
        "volume": lambda objective: volume(objective, want, rays()),
    }
    for column, check in checks.items():
        cells[column] = outcome(lambda check=check: check(objectives[0])) if objectives else cells["centre"]  # type: ignore[misc]
    cells["untouched"] = outcome(
        lambda: "" if same(before, fingerprint(trial)) else "the model or its batch has changed"
    )
    size = sum(parameter.numel() for parameter in trial.model.parameters())
    return Row(name, cells, size, time.perf_counter() - started)


def outcome(check: Callable[[], str]) -> tuple[str, str]:
    """Return what a check comes to; it returns what is wrong, or nothing."""
    try:
        words = check()
    except ls.LandscapeError as error:
        return REFUSED, str(error)
    except Exception:
        return TRACEBACK, traceback.format_exc(limit=-4)
    return (WRONG, words) if words else (RIGHT, "")


def objective_of(trial: Trial, **more: Any) -> ls.Objective:
    """Return the objective of a trial."""
    return ls.Objective(trial.model, [trial.batch], trial.loss, forward=trial.forward, **{**trial.options, **more})


def rounding(model: nn.Module) -> float:
    """Return how far two ways to compute a loss may be apart, relative, in the dtype of the model."""
    return max(2e-5, 2 * max(torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()))


def compare(got: float, want: float, tolerance: float) -> str:
    """Return nothing if two numbers agree, else both."""
    return "" if close(got, want, tolerance) else f"{got:.8g} for {want:.8g}"


def close(got: float, want: float, tolerance: float) -> bool:
    """Return whether two numbers agree, relative to the larger of 1 and the right one."""
    return abs(got - want) <= tolerance * max(1.0, abs(want))


def evaluating(model: nn.Module, trial: Trial) -> nn.Module:
    """Return a copy of a model in the mode in which it is measured."""
    model = copied(model)
    if trial.options.get("training"):
        return model.train()
    for module in model.modules():  # not eval(), which exported programs refuse
        module.training = False
    return model


def copied(model: nn.Module) -> nn.Module:
    """Return a copy; of a tensor that a hook computes (pruning, old-style weight norm) only the values."""
    computed = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    return deepcopy(model, {id(value): value.detach() for value in computed})


def moved(trial: Trial, objective: ls.Objective, step: Tensor) -> nn.Module:
    """Return a copy of the model whose parameters are moved by a step, shape (D,)."""
    model = evaluating(trial.model, trial)
    views = objective.layout.views(step)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in views:  # a complex parameter is none of them
                parameter.add_(views[name])
    return model


def rise_along(trial: Trial, objective: ls.Objective, step: Tensor, length: float) -> float:
    """Return the model's own loss at a distance along a step."""
    with torch.no_grad():
        return float(trial.own(moved(trial, objective, length * step), trial.batch))


def random_steps(objective: ls.Objective, count: int) -> list[Tensor]:
    """Return the steps for r = 1 of the first random directions, shape (D,) each."""
    steps = random_directions(objective, metric_of(objective, "filter"), 0).steps(range(count))
    if isinstance(steps, Tensor):
        return list(steps)
    return [flat_step(step, objective.layout.entries, objective.device) for step in steps]  # of a large model


def product(trial: Trial) -> str:
    """Compare H v with differences of the gradient of the model's own loss, in float64 if the model runs in it.

    Some models compute a part in float32 whatever they are given. So the smallest error over several steps counts: a
    long step is too long, a short one shows rounding, and a kink between the two points of one of them is no error.
    """
    double = in_float64(trial)
    lengths, tolerance = ((3e-2, 1e-1, 1e-2), 3e-2) if double is None else ((1e-4, 1e-5, 1e-3, 1e-6, 3e-3), 1e-3)
    trial = double or trial
    objective = objective_of(trial)
    vector = torch.randn(objective.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    vector = (vector / vector.norm()).to(objective.theta)
    got = ls.Hessian(objective) @ vector
    step = objective.scope.scatter(vector, torch.zeros_like(objective.theta))
    errors: list[tuple[float, float]] = []
    for length in lengths:
        ends = [gradient(trial, objective, sign * length * step) for sign in (1, -1)]
        want = (ends[0] - ends[1]) / (2 * length)
        errors.append((float((got - want).norm()), float(want.norm())))
        error, size = min(errors)
        if error <= tolerance * size + 1e-7:
            return ""
    along = float(torch.dot(got, vector))
    bends = second_differences(trial, objective, step)
    slope = float(torch.dot(gradient(trial, objective, 0 * step), vector))
    if agrees_with_losses(trial, objective, step, slope):
        # a kink nearer than the shortest step: there the framework's own second derivative decides
        if float((got - double_backward(trial, objective, step)).norm()) <= tolerance * size:
            return ""
    elif any(close(along, bend, 1e-3) for bend in bends):
        return ""  # the framework's own gradient is wrong, and the product is that of the measured loss
    return (
        f"|H v| = {float(got.norm()):.6g} for {size:.6g}, off by {error:.3g}; v . H v = {along:.6g} for {bends[0]:.6g}"
    )


def double_backward(trial: Trial, objective: ls.Objective, step: Tensor) -> Tensor:
    """Return H v by differentiating the model's own loss twice, without anything of landscape."""
    model = moved(trial, objective, 0 * step)
    parameters = {name: p.requires_grad_() for name, p in model.named_parameters() if p.is_floating_point()}
    along = objective.layout.views(step)
    with sdpa_kernel(SDPBackend.MATH):
        first = torch.autograd.grad(trial.own(model, trial.batch), [*parameters.values()], create_graph=True)
        slope = sum((g * along[name]).sum() for name, g in zip(parameters, first, strict=True))
        assert isinstance(slope, Tensor)
        second = torch.autograd.grad(slope, [*parameters.values()], allow_unused=True)
    pairs = zip(parameters.items(), second, strict=True)
    filled = {name: torch.zeros_like(p) if value is None else value for (name, p), value in pairs}
    return objective.scope.gather(objective.layout.flatten(filled))


def second_differences(trial: Trial, objective: ls.Objective, step: Tensor) -> list[float]:
    """Return the second derivative along a step, by differences of the loss, for a few lengths."""
    found = []
    for length in (1e-2, 1e-3, 1e-4):
        ends = [rise_along(trial, objective, step, sign * length) for sign in (1, 0, -1)]
        found.append((ends[0] - 2 * ends[1] + ends[2]) / length**2)
    return found


def agrees_with_losses(trial: Trial, objective: ls.Objective, step: Tensor, slope: float) -> bool:
    """Return whether a derivative along a step agrees with differences of the loss."""
    for length in (1e-3, 1e-4, 1e-5):
        ends = [rise_along(trial, objective, step, sign * length) for sign in (1, -1)]
        if close(slope, (ends[0] - ends[1]) / (2 * length), 1e-3):
            return True
    return False


def in_float64(trial: Trial) -> Trial | None:
    """Return the trial in float64; None if the model does not run in it."""

    def wide(item: Any) -> Any:
        return item.double() if isinstance(item, Tensor) and item.is_floating_point() else item

    double = replace(trial, model=copied(trial.model).double(), batch=tree_map(wide, trial.batch))
    try:
        with torch.no_grad():
            trial.own(evaluating(double.model, double), double.batch)
    except Exception:  # whatever the model says of float64
        return None
    return double


def gradient(trial: Trial, objective: ls.Objective, step: Tensor) -> Tensor:
    """Return the gradient of the model's own loss by the entries in scope, at theta + step."""
    model = moved(trial, objective, step)
    # one by one: a TorchScript module refuses requires_grad_ as a whole, and complex parameters do not move
    parameters = {name: p.requires_grad_() for name, p in model.named_parameters() if p.is_floating_point()}
    values = torch.autograd.grad(trial.own(model, trial.batch), [*parameters.values()], allow_unused=True)
    pairs = zip(parameters.items(), values, strict=True)
    filled = {name: torch.zeros_like(p) if value is None else value.to_dense() for (name, p), value in pairs}
    return objective.scope.gather(objective.layout.flatten(filled))


def cutoff_of(want: float) -> float:
    """Return a rise of the loss that small nets reach within the cap."""
    return 0.05 * (abs(want) + 0.1)


def radius(trial: Trial, objective: ls.Objective, want: float, rays: ls.Radii) -> str:
    """Check that the model's own loss crosses the cutoff at the radius; a loss with jumps may fall again soon after."""
    cutoff = cutoff_of(want)
    for step, length in zip(random_steps(objective, 2), rays.radii[:, 0], strict=True):
        slack = 0.02 * cutoff + rounding(trial.model) * abs(want)
        below = rise_along(trial, objective, step, 0.99 * length) - want
        beyond = (rise_along(trial, objective, step, share * length) - want for share in (1.01, 1.005, 1.002, 1.001))
        reached = length == 1 or any(rise >= cutoff - slack for rise in beyond)  # at the cap nothing is reached
        if below > cutoff + slack or not reached:
            return f"the loss does not cross a rise of {cutoff:.6g} at r = {length:.6g}: it rises by {below:.6g} before"
    return ""


def line(trial: Trial, objective: ls.Objective) -> str:
    """Compare the losses on a line with the model's own."""
    found = ls.slice_1d(objective, steps=3, span=0.05)
    [step] = random_steps(objective, 1)
    allowed = 5 * rounding(trial.model)
    wrong = [
        compare(got, rise_along(trial, objective, step, x), allowed) for x, got in zip(found.x, found.loss, strict=True)
    ]
    return next((words for words in wrong if words), "")


def volume(objective: ls.Objective, want: float, rays: ls.Radii) -> str:
    """Compare log V with the mean of r^n by the formula."""
    settled = {"first_step": rays.config["first_step_taken"], **RAYS}  # a second pilot run would settle the same
    found = ls.log_volume(objective, [cutoff_of(want)], estimator="uniform", **settled)
    assert isinstance(found, Volume)
    n = found.dimension
    powers = n * np.log(rays.radii[:, 0])
    mean = powers.max() + math.log(np.exp(powers - powers.max()).mean())
    expected = n / 2 * math.log(math.pi) - math.lgamma(n / 2 + 1) + mean
    return compare(found.results[0].log_volume, expected, 1e-9)


def fingerprint(trial: Trial) -> list[Any]:
    """Return copies of all that a measurement must leave as it is."""
    model = trial.model
    kept: list[Any] = [tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())]
    kept += [module.training for module in model.modules()]
    kept += [(parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()]
    tree_map(lambda item: kept.append(item.clone() if isinstance(item, Tensor) else None), trial.batch)
    return kept


def same(before: list[Any], after: list[Any]) -> bool:
    """Return whether two fingerprints are equal bit for bit."""
    pairs = zip(before, after, strict=True)
    return all(equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


def equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors hold the same values, NaN included."""
    a, b = (item.to_dense() if item.layout != torch.strided else item for item in (a, b))
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
