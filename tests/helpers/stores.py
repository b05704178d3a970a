"""Results to store, and a second Python process to store them in, for the tests of the store."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from landscape.results import Cost, Radii, RayStatus, Result, Volume, VolumeEstimate

NAMES = """
import json, os, signal, sys, time
import numpy as np
from landscape.errors import StoreError
from landscape.store import Store
from helpers.stores import assert_same, make_radii
"""
WITHOUT_TORCH = 'assert "torch" not in sys.modules\n'  #: so that a process starts quickly


def make_radii(done: int, total: int = 40, *, config: dict | None = None) -> Radii:
    """Return radii of which the first ``done`` rays are measured; a ray's numbers depend on its index alone."""
    pending = np.arange(total) >= done
    values = np.sin(np.arange(1, total + 1))[:, None] * [1.0, 2.0]
    values[pending] = np.nan
    status = np.where(pending[:, None], RayStatus.PENDING, RayStatus.CROSSED).astype(np.int8).repeat(2, axis=1)
    return Radii(
        radii=values,
        status=status,
        lower=values * 0.999,
        upper=np.where(np.isnan(values), np.nan, np.inf),
        calls=np.where(pending, 0, 7),
        evaluations=np.where(pending, 0.0, 3.25),
        nonfinite=np.zeros(total, np.int32),
        profile_ray=np.zeros(0, np.int64),
        profile_radius=np.zeros(0),
        profile_loss=np.zeros((0, 3), np.float32),
        cutoffs=(0.1, 1.0),
        dimension=268_336,
        log_scale_sum=-1 / 3,
        centre=1e-300,
        config=config or {"metric": "filter", "max_radius": None, "seed": 0},
        cost=Cost(0.1 + 0.2, 3, 1.5),
    )


def make_volume() -> Volume:
    estimate = VolumeEstimate(
        cutoff=0.1,
        log_volume=-75_812.3,
        log_volume_raw=-1e6,
        interval=(-80_000.0, math.inf),
        ess=1.0,
        largest_weight=1.0,
        censored=0.0,
        censored_weight=0.0,
        pareto_k=math.nan,
        verdict="lower bound",
        reasons=("fewer than 100 rays: pass `directions=1000`, and a larger budget if that ended them",),
    )
    weights = np.array([[-np.inf], [0.0], [-0.7], [-1e6], [-0.1], [-3.0]])
    return Volume((estimate,), weights, "uniform", 12, 6, {"scope": "weights"}, Cost(1.0, 2, 3.0))


def assert_same_arrays(first: Result, second: Result) -> None:
    """Assert that the arrays of two results are the same to the last bit."""
    assert type(first) is type(second)
    assert first.arrays().keys() == second.arrays().keys()
    for name, array in first.arrays().items():
        other = second.arrays()[name]
        assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes()), name


def assert_same(first: Result, second: Result) -> None:
    """Assert that two results are the same to the last bit."""
    assert_same_arrays(first, second)
    # repr tells -0.0 from 0.0, a list from a tuple, and finds NaN equal to NaN.
    for name in first.attributes():
        assert repr(getattr(first, name)) == repr(getattr(second, name)), name


def start_python(code: str, *, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", NAMES + WITHOUT_TORCH + code],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_python(code: str, *, prefix: tuple[str, ...] = ()) -> str:
    """Run code in a new process, with the names of this file at hand, and return what it printed."""
    process = start_python(code, prefix=prefix)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return out


def leftovers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name != "run.h5")
