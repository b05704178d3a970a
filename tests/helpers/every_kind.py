"""One small result of every kind, made by hand: a test over all of them cannot forget one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.slice_results import make_line, make_run
from landscape.results import (
    AnnealedVolume,
    Boundary,
    Comparison,
    ComparisonRow,
    Cost,
    CountedVolume,
    Diagonal,
    Eigenpairs,
    Embedding,
    Hits,
    Islands,
    LaplaceVolume,
    LayerTraces,
    LogDeterminant,
    Measure,
    NetMeasures,
    Radii,
    Ranking,
    Result,
    Runs,
    SharpnessTable,
    Snapshot,
    SpectralDensity,
    Trace,
    Volume,
    VolumeEstimate,
)
from landscape.results.ranking import STATISTICS
from landscape.results.shown import Shown

COST = Cost(30.0, 12, 1.5)
CUTOFFS = (0.1, 0.5)
CONFIG: dict[str, Any] = {"criterion": "loss", "metric": "filter", "scope": "weights", "max_radius": 1.0, "seed": 0}
MATRIX: dict[str, Any] = {"operator": "hessian", "metric": "identity", "seed": 0}
RANDOM = np.random.default_rng(0)


def estimate(cutoff: float, log_volume: float, verdict: str = "reliable") -> VolumeEstimate:
    ends = (log_volume - 0.5, math.inf if verdict == "lower bound" else log_volume + 0.5)
    reasons = () if verdict == "reliable" else ("few rays: pass directions=1000",)
    return VolumeEstimate(
        cutoff, log_volume, log_volume + 2.0, ends, 80.0, 0.05, 0.0, 0.0, 0.3, verdict, reasons, bound=ends[0]
    )


ROWS = (estimate(0.1, -6.0), estimate(0.5, -4.0, "lower bound"))
VOLUME = Volume(ROWS, RANDOM.normal(size=(40, 2)), "uniform", 7, 40, CONFIG, COST)
RADII = Radii(
    radii=(values := RANDOM.uniform(0.2, 0.9, size=(40, 1)) * [0.5, 1.0]),
    status=np.zeros((40, 2), np.int8),
    lower=values * 0.999,
    upper=values * 1.001,
    calls=np.full(40, 7),
    evaluations=np.full(40, 3.25),
    nonfinite=np.zeros(40, np.int32),
    profile_ray=np.repeat([0, 1], 5),
    profile_radius=np.tile(np.linspace(0.1, 0.5, 5), 2),
    profile_loss=np.tile(np.linspace(0.02, 0.6, 5), 2),
    cutoffs=CUTOFFS,
    dimension=7,
    log_scale_sum=2.0,
    centre=0.01,
    config=CONFIG,
    cost=COST,
)
ISLANDS = Islands(
    pilots=np.zeros((1, 7)),
    groups=np.zeros((2, 6)),
    forwards=np.array([[-3.0, -3.1], [-2.9, -3.0]]),
    backwards=np.array([[-2.8, -2.9], [-2.7, -2.8]]),
    log_radii=RANDOM.normal(size=(2, 10)),
    rounds=np.zeros((1, 11)),
    reference_radii=RADII.radii[:5],
    reference_masses=7 * np.log(RADII.radii[:5]),
    cutoffs=CUTOFFS,
    dimension=7,
    log_scale_sum=2.0,
    share=0.5,
    config=CONFIG,
    cost=COST,
)
TRAIL = np.array([[0, 1.0, 20, -6.3, 0.9, -5.5, 0.3, 1.0], [0, 2.0, 40, -6.0, 0.6, np.inf, 0.2, 0.99]])


def llc(chains: int = 4, draws: int = 50) -> Measure:
    """A local learning coefficient with the draws of its chains."""
    samples = 3 + np.random.default_rng(1).normal(size=(chains, draws))
    config = {
        "chains": chains,
        "draws_taken": draws,
        "inside": chains // 2,
        "sampler_taken": "hmc",
        "r_hat": 1.01,
        "ess": 99.0,
    }
    value, error = float(samples.mean()), float(samples.std() / samples.size**0.5)
    return Measure("llc", value, error, "estimate", (), "sharper", (), samples.ravel(), config, COST)


AVERAGE = Measure("average-case", 0.5, 0.05, "estimate", (), "sharper", (), RANDOM.normal(0.5, 0.3, 30), {}, COST)
EXACT = Measure("l2-norm", 12.5, 0.0, "exact", (), "sharper", (), np.zeros(0), {}, COST)
NET = NetMeasures(
    "w16-s0",
    {"width": 16},
    "0",
    {"gap": 0.1},
    {"parameters": 100.0},
    True,
    ("average-case", "l2-norm"),
    np.array([0.5, 12.5]),
    np.array([0.05, 0.0]),
    np.array([30.0, 1.0]),
    np.array([1.0, 0.1]),
    ("estimate", "exact"),
    {},
    (),
    {},
    CONFIG,
    COST,
)
RUNS = Runs(
    nets=("a", "b", "c"),
    axes={"width": [16, 32, 64]},
    seeds=("0", "0", "0"),
    target_names=("gap",),
    targets=np.array([[0.1, 0.2, 0.3]]),
    measures=("average-case", "l2-norm"),
    values=np.array([[0.5, 0.7, 0.9], [12.5, 11.0, np.nan]]),
    standard_errors=np.full((2, 3), 0.05),
    passes=np.ones((2, 3)),
    seconds=np.ones((2, 3)),
)
PAIR = np.array([[0.5, -0.2]])
RANKING = Ranking(
    target="gap",
    measures=("average-case", "l2-norm"),
    baselines=("l2-norm",),
    statistics=tuple(STATISTICS),
    estimates=PAIR.repeat(len(STATISTICS), 0),
    lower=PAIR.repeat(len(STATISTICS), 0) - 0.2,
    upper=PAIR.repeat(len(STATISTICS), 0) + 0.2,
    null_lower=np.full((len(STATISTICS), 2), -0.3),
    null_upper=np.full((len(STATISTICS), 2), 0.3),
    axes=("width",),
    psi=PAIR,
    psi_lower=PAIR - 0.2,
    psi_upper=PAIR + 0.2,
    cells=np.array([3]),
    cells_defined=np.array([[3, 2]]),
    sign_errors=np.array([[0.1, 0.6], [0.2, 0.7]]),
    sign_error_axis=np.array([0, 0]),
    sign_error_largest=np.array([0.2, 0.7]),
    cmi_null=np.array([0.01, 0.01]),
    noise=np.array([0.1, 0.0]),
    passes=np.array([30.0, 1.0]),
    seconds=np.array([1.0, 0.1]),
    margin=np.array([0.7, np.nan]),
    margin_lower=np.array([0.4, np.nan]),
    hardest=("l2-norm", ""),
    differences=np.array([[0.0, 0.7], [-0.7, 0.0]]),
    differences_lower=np.array([[0.0, 0.4], [-0.9, 0.0]]),
    differences_upper=np.array([[0.0, 0.9], [-0.4, 0.0]]),
    chance_of_best=0.45,
    nets=12,
    configurations=4,
    gaps={"llc": "no value"},
    invariances={},
    closed_forms={},
    notes=("a note.",),
    config={},
    cost=COST,
)
RESULTS: dict[str, Result] = {
    "radii": RADII,
    "volume": VOLUME,
    "annealed": AnnealedVolume(ROWS, np.zeros((8, 2)), "annealed", 7, 8, CONFIG, COST, TRAIL),
    "counted": CountedVolume(
        ROWS, np.zeros((0, 2)), "counted", 7, 40, CONFIG, COST, *np.full((3, 2), 9), np.array([-6.0, -4.0]),
        np.array([[-7.0, -5.0], [-4.5, -3.5]]),
    ),
    "laplace": LaplaceVolume(
        (estimate(0.1, -6.0, "approximation"),), np.zeros((0, 1)), "laplace", 7, 0, CONFIG, COST,
        *np.array([[5.0], [0.1], [0.05], [0.0]]), 0.0,
    ),
    "hits": Hits(
        np.array([3, 9]), np.array([0.5, 0.7]), np.array([0.05, 0.3]), np.array([-np.inf, 0.2]), 20, CUTOFFS, 7, 2.0,
        0.01, {**CONFIG, "hits": 10}, COST,
    ),
    "islands": ISLANDS,
    "line": make_line(),
    "plane": make_run(config={"criterion": "loss"}),
    "eigenpairs": Eigenpairs(
        np.array([3.0, 2.0]), np.eye(7)[:, :2], np.array([1e-6, 0.3]), np.array([True, False]), True, 1e-12, "largest",
        7, ("a note.",), MATRIX, COST,
    ),
    "trace": Trace(10.0, 0.4, RANDOM.normal(10, 2, 25), False, "hutchinson", 7, MATRIX, COST),
    "layer_traces": LayerTraces(
        ("a.weight", "b.weight"), np.array([4, 3]), np.array([6.0, 4.0]), np.array([0.3, 0.2]),
        RANDOM.normal(5, 1, (25, 2)), False, 7, MATRIX, COST,
    ),
    "diagonal": Diagonal(np.linspace(-0.5, 3, 7), np.full(7, 0.1), False, 25, MATRIX, COST),
    "spectral_density": SpectralDensity(
        np.sort(RANDOM.normal(1, 1, (5, 20))), np.full((5, 20), 0.05), False, False, 1e-9, 7, MATRIX, COST
    ),
    "log_determinant": LogDeterminant(
        4.0, 0.2, 0.1, 0.0, 0.0, 0.0, RANDOM.normal(4, 1, 25), 0.5, False, 7, MATRIX, COST
    ),
    "measure": llc(),
    "snapshot": Snapshot.of(
        {"average-case": AVERAGE, "l2-norm": EXACT}, 120, 3.0, {"seed": 0, "step_from": "training"}
    ),
    "net": NET,
    "runs": RUNS,
    "ranking": RANKING,
    "boundary": Boundary(
        np.linspace(-1, 1, 9), np.linspace(-1, 1, 8), np.linspace(-1, 1, 72).reshape(8, 9).astype(np.float32),
        RANDOM.uniform(-1, 1, (12, 2)), np.arange(12) % 2, RANDOM.uniform(0.1, 1, 12), {}, COST,
    ),
    "embedding": Embedding(RANDOM.normal(size=(6, 2)), np.full(6, 0.2), np.array([0.6, 0.2]), {}, COST),
}  # fmt: skip
ROW = ComparisonRow(0.1, 3.0, 2.0, (1.0, 5.0), (0.0, 4.0), ("reliable", "settled"), "first", "first", "paired rays")
OPEN = replace(ROW, cutoff=0.5, difference=math.nan, interval=(-math.inf, 2.0), larger="cannot tell")
#: every kind of result, and the two tables that no store keeps
SHOWN: dict[str, Shown] = {
    **RESULTS,
    "sharpness": SharpnessTable({"average-case": AVERAGE, "l2-norm": EXACT}, notes=("scope: all",)),
    "comparison": Comparison((ROW, OPEN), 7, "loss", ("uniform", "annealed"), ()),
}
