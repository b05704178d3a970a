"""Measures against the training step: what is drawn, and what is not."""

import math

import numpy as np
import pytest

from landscape.plots.sharpness import measures_by_step
from landscape.results import Cost, Measure


def measure(name, value, step, error=0.1, rho=None):
    config = {"checkpoint": f"{step}.pt", "step": step, "rho": rho}
    return Measure(name, value, error, "estimate", (), "sharper", (), np.zeros(0), config, Cost(1.0, 1, 0.1))


@pytest.fixture
def run():
    return {
        f"{step}-{name}": measure(name, 2.0 * step, step, rho=rho)
        for step in (300, 100, 200)
        for name, rho in (("trace", None), ("average-case", 0.1))
    }


def test_one_panel_per_measure_in_the_order_of_the_steps(run):
    figure = measures_by_step(run)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == ["trace", "average-case, rho = 0.1"]
    line = panels["trace"].lines[0]
    assert line.get_xdata().tolist() == [100, 200, 300]
    assert line.get_ydata().tolist() == [200.0, 400.0, 600.0]
    assert panels["trace"].get_xlabel() == "training step"


def test_files_without_a_step_are_drawn_in_order():
    figure = measures_by_step({f"{k}": measure("trace", 1.0, k) for k in range(3)})
    assert figure.axes[0].get_xlabel() == "checkpoint, in the order typed"


def test_nothing_is_drawn_for_one_checkpoint_or_for_failures(run):
    assert measures_by_step({"one": run["100-trace"]}) is None
    assert measures_by_step({f"{k}": measure("trace", math.nan, k) for k in range(3)}) is None
