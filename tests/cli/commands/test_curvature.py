"""``landscape curvature`` as a user types it, and its results in ``landscape show`` and ``landscape plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

import landscape as ls
from helpers.commands import flat, make_task, run, strict, trained_weights
from landscape.curvature import GaussNewton, Hessian
from landscape.curvature.counting_operator import CountingOperator
from landscape_cli import heartbeat

SMALL = "ckpt.pt --task my_task.py"
ALL = "--top 3 --trace --layers --density --log-det 0.5 --probes 6 --steps 9"
N = 32  #: entries in scope ``weights``


def objective(scope: str = "weights") -> ls.Objective:
    task = make_task()
    task.model.load_state_dict(trained_weights())
    return ls.Objective(task.model, task.data, task.loss, scope=scope)


def held(name: str) -> Any:
    return ls.Store("run.h5")[name]


def same(one: Any, other: Any) -> bool:
    """Whether the arrays are the same bit for bit."""
    pairs = zip(one.arrays().items(), other.arrays().items(), strict=True)
    return all(a == b and x.tobytes() == y.tobytes() for (a, x), (b, y) in pairs)


def test_the_top_five_and_the_trace_unless_told_otherwise(here: Path) -> None:
    done = run(f"curvature {SMALL} --probes 10 --out run.h5")
    assert ls.Store("run.h5").names() == ["hessian-eigenpairs", "hessian-trace"]
    op = Hessian(objective())
    assert same(held("hessian-eigenpairs"), ls.top_eigenpairs(op, 5))
    assert same(held("hessian-trace"), ls.trace(op, 10))
    assert held("hessian-trace").value == ls.trace(op, 10).value
    for result in (held("hessian-eigenpairs"), held("hessian-trace")):
        assert result.table() in done.stdout
        assert result.config["checkpoint"] == "ckpt.pt"
    told = flat(done.stderr)
    assert f"products with all the data: at most {N} for the top 5 eigenpairs, 10 for the trace" in told
    assert "Hessian, scope weights, n = 32 of 42 parameters, 64 samples, loss at the centre 0.0" in told


def test_all_that_can_be_asked_for_is_what_the_library_gives(here: Path) -> None:
    run(f"curvature {SMALL} {ALL} --operator ggn --metric filter --seed 3 --scope all --out run.h5 -q")
    op = GaussNewton(objective("all"), metric="filter")
    expected = {
        "eigenpairs": ls.top_eigenpairs(op, 3, seed=3),
        "trace": ls.trace(op, 6, seed=3),
        "layers": ls.layer_traces(op, 6, seed=3),
        "density": ls.spectral_density(op, 6, 9, seed=3),
        "log-determinant": ls.log_determinant(op, 0.5, probes=6, steps=9, seed=3),
    }
    assert ls.Store("run.h5").names() == sorted(f"ggn-filter-{name}" for name in expected)
    for name, result in expected.items():
        assert same(held(f"ggn-filter-{name}"), result), name


def test_json_is_one_strict_object_with_every_error(here: Path) -> None:
    found = strict(run(f"curvature {SMALL} {ALL} --json").stdout)
    assert found.keys() >= {"operator", "metric", "scope", "seed", "dimension", "samples", "products", "seconds"}
    pairs = ls.top_eigenpairs(Hessian(objective()), 3)
    assert found["eigenpairs"]["values"] == pairs.values.tolist()
    assert found["eigenpairs"]["residuals"] == pairs.residuals.tolist()
    assert found["eigenpairs"]["converged"] == [True] * 3
    assert found["eigenpairs"]["complete"] is True
    assert "vectors" not in found["eigenpairs"]
    assert found["trace"]["standard_error"] > 0
    assert found["layers"]["names"] == ["0.weight", "2.weight"]
    assert len(found["layers"]["standard_errors"]) == 2
    assert found["layers"]["total_standard_error"] > 0
    density = found["density"]
    assert trapezoid(density["density"], density["grid"]) == pytest.approx(1, abs=1e-6)
    assert len(density["density_error"]) == len(density["grid"])
    assert found["log_determinant"].keys() >= {"value", "standard_error", "quadrature_error", "negative", "shift"}
    parts = ("eigenpairs", "trace", "layers", "density", "log_determinant")
    assert found["products"] == sum(found[part]["products"] for part in parts)
    assert found["trace"]["products"] == found["layers"]["products"] == 6


def test_an_eigenvalue_that_did_not_converge_says_so(here: Path) -> None:
    done = run(f"curvature {SMALL} --top 4 --max-products 6")
    assert " NO\n" in done.stdout
    assert "stopped at max_products = 6" in done.stdout
    found = strict(run(f"curvature {SMALL} --top 4 --max-products 6 --json").stdout)["eigenpairs"]
    assert found["converged"] == [
        not larger for larger in np.greater(found["residuals"], 1e-4 * np.abs(found["values"]))
    ]
    assert not all(found["converged"])
    assert found["products"] == 6


def test_a_file_is_added_to_and_never_replaced_unasked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(f"curvature {SMALL} --trace --probes 6 --out run.h5 -q")
    first = held("hessian-trace")
    assert "already holds the trace (hessian-trace)" in run(f"curvature {SMALL} --trace --out run.h5", code=2).output
    done = run(f"curvature {SMALL} --trace --probes 9 --out run.h5 --resume", code=2)
    assert "probes: stored 6, asked 9" in done.output
    assert same(held("hessian-trace"), first)
    done = run(f"curvature {SMALL} --trace --layers --probes 6 --out run.h5 --resume")
    assert "from run.h5: the trace" in done.stderr
    assert "products with all the data: 6 for the traces of the tensors" in done.stderr
    assert first.table() in done.stdout
    assert same(held("hessian-trace"), first)
    run(f"curvature {SMALL} --trace --operator ggn --out run.h5 -q")
    run(f"curvature {SMALL} --trace --metric layer --out run.h5 -q")
    assert ls.Store("run.h5").names() == ["ggn-trace", "hessian-layer-trace", "hessian-layers", "hessian-trace"]
    run(f"curvature {SMALL} --trace --probes 9 --out run.h5 --overwrite -q")
    assert held("hessian-trace").config["probes"] == 9
    monkeypatch.setattr(Hessian, "_apply", lambda *_: pytest.fail("all of it was in the file"))
    run(f"curvature {SMALL} --trace --probes 9 --out run.h5 --resume --json")


def test_another_checkpoint_is_no_continuation(here: Path) -> None:
    run(f"curvature {SMALL} --trace --out run.h5 -q")
    torch.save({name: 1.1 * tensor for name, tensor in trained_weights().items()}, "ckpt.pt")
    assert "theta_hash: stored" in run(f"curvature {SMALL} --trace --out run.h5 --resume", code=2).output


def test_interrupted_it_keeps_what_is_finished(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"curvature {SMALL} {ALL}"
    run(f"{line} --out whole.h5 -q")
    made = 0
    apply = Hessian._apply

    def interrupted(self: Hessian, vectors: torch.Tensor) -> Any:
        nonlocal made
        made += vectors.shape[1]
        if vectors.shape[1] == 6 and made > 50:  # within the density
            raise KeyboardInterrupt
        return apply(self, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(Hessian, "_apply", interrupted)
        done = run(f"{line} --out run.h5", code=130)
        made = 0
        nothing = run(line, code=130)
    kept = ls.Store("run.h5").names()
    assert kept == ["hessian-eigenpairs", "hessian-layers", "hessian-trace"]
    said = (
        "interrupted after the top 3 eigenpairs, the trace, the traces of the tensors, kept in run.h5; continue with: "
    )
    command = done.stderr.splitlines()[-1].removeprefix(said + "landscape ")
    assert all(held(name).table() in done.stdout for name in kept)
    assert "nothing was kept (with --out run.h5" in nothing.stderr
    run(command)
    whole = ls.Store("whole.h5")
    for name in whole.names():
        assert same(held(name), whole[name]), name


def test_progress_goes_to_a_log(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "FIRST", (0.0,))
    monkeypatch.setattr(heartbeat, "EVERY", 0.0)
    done = run(f"curvature {SMALL} --trace --probes 6 --density --steps 4")
    assert "6 of 6 products, " in done.stderr
    assert "12 of 24 products at most, " in done.stderr
    assert run(f"curvature {SMALL} -q").stderr == ""


def test_plot_draws_what_there_is(here: Path) -> None:
    run(f"curvature {SMALL} {ALL} --out run.h5 -q")
    run(f"curvature {SMALL} --top 2 --metric filter --out run.h5 -q")
    run(f"curvature {SMALL} --density --operator ggn --out run.h5 -q")
    done = run("plot run.h5 --out figures --format svg")
    hessian = ("density", "eigenpairs", "filter-eigenpairs", "layers", "log-determinant", "trace")
    drawn = ["ggn-density", *(f"hessian-{name}" for name in hessian)]
    assert sorted(done.stdout.split()) == [f"figures/run-{name}.svg" for name in drawn]
    assert "holds 7 results" in run("plot run.h5 --out all.png", code=2).output
    # only what was found of the very same matrix is marked in a density
    marked = Path("figures/run-hessian-density.svg").read_text()
    assert "the 3 largest eigenvalues" in marked
    assert "ckpt.pt, scope weights, n = 32" in marked
    assert "largest eigenvalues" not in Path("figures/run-ggn-density.svg").read_text()
    run(f"curvature {SMALL} --density --out one.h5 -q")
    run("plot one.h5 --out one.pdf")


def test_a_trace_alone_is_drawn_too(here: Path) -> None:
    run(f"curvature {SMALL} --trace --out run.h5 -q")
    assert run("plot run.h5").stdout == "run-hessian-trace.png\n"


def test_show_says_what_there_is(here: Path) -> None:
    run(f"curvature {SMALL} {ALL} --out run.h5 -q")
    done = run("show run.h5")
    for name in ls.Store("run.h5").names():
        assert f"== {name} (" in done.stdout
        assert held(name).table() in done.stdout
    found = strict(run("show run.h5 --json").stdout)["results"]
    assert found["hessian-trace"]["summary"]["value"] == held("hessian-trace").value
    assert found["hessian-eigenpairs"]["summary"]["converged"] == [True] * 3


@pytest.mark.parametrize("lanes", [1, 7, 100])
def test_a_watched_operator_is_the_same_bit_for_bit(lanes: int) -> None:
    measured = objective()
    op = Hessian(measured)
    object.__setattr__(measured.plan, "lanes", lanes)
    op._width = lanes
    counts: list[float] = []
    counting = CountingOperator.of(op, counts.append)
    vectors = torch.randn(N, 23, generator=torch.Generator().manual_seed(0))
    assert torch.equal(counting @ vectors, op @ vectors)
    assert torch.equal(counting.forms(vectors), op.forms(vectors))
    assert sum(counts) == 46
    assert counting.cost.evaluations == 92, "with those that it was compared with"
    assert max(counts) == {1: 10, 7: 14, 100: 23}[lanes]
    assert torch.equal(counting.summands()[-1].forms(vectors), op.summands()[-1].forms(vectors))
    assert sum(counts) == pytest.approx(46 + 23 * op.summands()[-1].share)
    assert counting.parts == op.parts
    assert counting.describe() == op.describe()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--top 33", "Pass --top 32 or less"),
        ("--top 0", "0 is not in the range x>=1"),
        ("--probes 1", "1 is not in the range x>=2"),
        ("--top 4 --max-products 3", "4 eigenpairs need at least 4 products"),
        ("--log-det nan", "shift must be a finite number"),
        ("--scope conv", "conv"),
        ("--loss hard.py:errors", "has no curvature"),
        ("--loss hard.py:once", "differentiable once only"),
        ("--operator fisher", "'fisher' is not one of"),
        ("--resume", "Add --out run.h5"),
        ("--out run.h5 --resume --overwrite", "Type one of the two"),
        ("--compile", "No such option"),
    ],
)
def test_misuse_is_one_clear_error(here: Path, line: str, message: str) -> None:
    (here / "hard.py").write_text(HARD)
    done = run(f"curvature {SMALL} {line}", code=2)
    assert message in done.output
    assert "Traceback" not in done.output
    assert not (here / "run.h5").exists()


HARD = """
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy


class Double(Function):
    @staticmethod
    def forward(context, x):
        return 2 * x

    @staticmethod
    @once_differentiable
    def backward(context, slope):
        return 2 * slope


def errors(output, target):
    return (output.argmax(-1) != target).float()


def once(output, target):
    return cross_entropy(Double.apply(output), target, reduction="none")
"""
