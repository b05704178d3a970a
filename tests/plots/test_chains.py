"""The trace of chains: what it shows, and of which measures there is one."""

import numpy as np
import pytest

from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots.chains import MOST_CHAINS
from landscape.results import Cost, Measure


def measure(name="llc", chains=20, draws=30, checkpoint="a.pt", step=0):
    samples = np.random.default_rng(0).standard_normal((chains, draws)) + 3
    config = {
        "chains": chains,
        "draws_taken": draws,
        "inside": chains // 2,
        "sampler_taken": "hmc",
        "r_hat": 1.01,
        "ess": 99.0,
    }
    config |= {"checkpoint": checkpoint, "step": step}
    return Measure(name, 3.0, 0.1, "estimate", (), "sharper", (), samples.ravel(), config, Cost(1.0, 1, 0.0))


def test_traces_of_both_kinds_of_start_and_the_mean():
    own = measure()
    figure = plots.figures_of(own)["trace"]
    trace, side = figure.axes
    lines = [line for line in trace.lines if len(line.get_xdata()) == 30]
    assert len(lines) == MOST_CHAINS
    rows = own.samples.reshape(20, 30)
    assert np.array_equal(lines[0].get_ydata(), rows[0])
    assert np.array_equal(lines[-1].get_ydata(), rows[13])
    assert len(side.patches) >= 2
    assert "estimate" in figure.get_suptitle()
    assert "20 chains, 8 drawn, split R-hat 1.010" in figure.get_suptitle()


def test_other_measures_have_no_trace():
    assert set(plots.figures_of(measure(name="trace"))) == {"samples"}
    assert plots.figures_of_run({"trace": measure(name="trace")}) == {}
    assert plots.figures_of(measure(draws=0)) == {}


def test_the_one_figure_of_several_checkpoints_is_that_against_the_step():
    one, two = measure(), measure(checkpoint="b.pt", step=5)
    assert "Local learning coefficient" in plots.one_figure({"llc": one}).get_suptitle()
    by_step = plots.one_figure({"a-llc": one, "b-llc": two})
    assert [axes.get_title(loc="left") for axes in by_step.axes if axes.get_visible()] == ["llc"]
    with pytest.raises(LandscapeError, match="nothing to draw"):
        plots.one_figure({"trace": measure(name="trace")})
