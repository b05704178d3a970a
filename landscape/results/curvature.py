"""What is known of a curvature: eigenpairs, traces, the diagonal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.dataset import Layout
from landscape.results.table import columns


@dataclass(frozen=True)
class Eigenpairs(Result):
    """Some eigenpairs of a symmetric operator A, each with its residual and whether it converged.

    The interval value ± residual holds an eigenvalue of A for certain, converged or not.

    Attributes:
        values: the eigenvalues, descending, shape (k,), float64.
        vectors: their unit eigenvectors as columns, shape (n, k); the largest entry of each is positive.
        residuals: |A v - value · v| of each, shape (k,).
        converged: whether the residual is at most rtol · |value|, or both are 0 to rounding, shape (k,), bool.
        complete: whether a search from another random vector found no eigenvalue further out, such as a second copy of
            one. It misses one with a chance of at most one in a hundred.
        rounding: the part of the largest residual that rounding in the products leaves, whatever their number.
        which: ``largest``, ``smallest`` or ``magnitude``.
        dimension: n.
        notes: what a reader should know.
        config: everything that determines the numbers.
        cost: the products.
    """

    kind: ClassVar[str] = "eigenpairs"
    _layout: ClassVar[Layout] = {
        "values": ("eigenpair", "loss per squared metric unit"),
        "vectors": ("entry eigenpair", "1"),
        "residuals": ("eigenpair", "loss per squared metric unit"),
        "converged": ("eigenpair", "1"),
    }

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    complete: bool
    rounding: float
    which: str
    dimension: int
    notes: tuple[str, ...]
    config: dict[str, Any]
    cost: Cost

    @property
    def wanted(self) -> str:
        """Which end of the spectrum, in words."""
        return _WHICH[self.which]

    def table(self) -> str:
        """Return one row per pair, which says NO if the pair did not converge."""
        rows = [
            [str(i + 1), f"{value:.7g}", f"{residual:.1e}", "yes" if done else "NO"]
            for i, (value, residual, done) in enumerate(zip(self.values, self.residuals, self.converged, strict=True))
        ]
        return columns(["", "eigenvalue", "residual", "converged"], rows)

    def _series(self) -> dict[str, Any]:
        return {
            "eigenvalue_loss_per_unit2": self.values,
            "residual_loss_per_unit2": self.residuals,
            "converged": self.converged,
        }

    def _brief(self) -> str:
        more = ", ..." if len(self.values) > _FEW else ""
        values = ", ".join(f"{value:.5g}" for value in self.values[:_FEW]) + more
        return (
            f"{len(self.values)} {self.wanted} of the {matrix_name(self.config)}, n = {self.dimension:,}: {values} "
            f"({int(self.converged.sum())} converged)"
        )

    def __str__(self) -> str:
        matrix = matrix_name(self.config)
        head = f"{len(self.values)} {self.wanted} of the {matrix}, n = {self.dimension:,}, {_products(self.cost)}"
        return "\n".join([head, self.table(), *(f"note: {note}" for note in self.notes)])


_FEW = 3  # eigenvalues in a `repr`
_WHICH = {
    "largest": "largest eigenvalues",
    "smallest": "smallest (most negative) eigenvalues",
    "magnitude": "eigenvalues of largest absolute value",
}


@dataclass(frozen=True)
class Trace(Result):
    """The trace of a symmetric operator, with its standard error.

    Attributes:
        value: the estimate.
        standard_error: of it; 0 where the trace is exact.
        samples: the values whose mean it is, shape (m,): of ``hutchinson`` one a probe, independent.
        exact: whether unit vectors took the place of random probes, since there are no more of them.
        method: ``hutchinson``, ``hutch++`` or ``xtrace``.
        dimension: n.
        config: everything that determines the numbers.
        cost: the products.
    """

    kind: ClassVar[str] = "trace"
    _layout: ClassVar[Layout] = {
        "value": ("", "loss per squared metric unit"),
        "standard_error": ("", "loss per squared metric unit"),
        "samples": ("probe", "loss per squared metric unit"),
    }

    value: float
    standard_error: float
    samples: np.ndarray
    exact: bool
    method: str
    dimension: int
    config: dict[str, Any]
    cost: Cost

    def table(self) -> str:
        """Return the value, its error and the mean eigenvalue in one row."""
        row = [f"{self.value:.7g}", f"{self.standard_error:.2g}", f"{self.value / self.dimension:.5g}"]
        return columns(["trace", "standard error", "mean eigenvalue"], [row])

    def _series(self) -> dict[str, Any]:
        return {
            "trace_loss_per_unit2": [self.value],
            "standard_error_loss_per_unit2": [self.standard_error],
            "mean_eigenvalue_loss_per_unit2": [self.value / self.dimension],
            "exact": [self.exact],
            "method": [self.method],
        }

    def _brief(self) -> str:
        how = "exact" if self.exact else self.method
        value = f"{self.value:.7g} ± {self.standard_error:.2g}"
        return f"{value} of the {matrix_name(self.config)} ({how}), n = {self.dimension:,}"

    def __str__(self) -> str:
        how = "exact, by unit vectors" if self.exact else self.method
        matrix = matrix_name(self.config)
        return f"trace of the {matrix}: {how}, n = {self.dimension:,}, {_products(self.cost)}\n{self.table()}"


@dataclass(frozen=True)
class LayerTraces(Result):
    """The trace of each parameter tensor's own block of a symmetric operator, with standard errors.

    Attributes:
        names: the parameter tensors, in the order of the operator.
        sizes: number of entries of each, shape (parts,).
        values: the traces, shape (parts,).
        standard_errors: of them, shape (parts,); 0 where they are exact.
        samples: a value a probe and tensor, shape (probes, parts).
        exact: whether unit vectors took the place of random probes.
        dimension: n.
        config: everything that determines the numbers.
        cost: the products.
    """

    kind: ClassVar[str] = "layer_traces"
    _layout: ClassVar[Layout] = {
        "sizes": ("tensor", "1"),
        "values": ("tensor", "loss per squared metric unit"),
        "standard_errors": ("tensor", "loss per squared metric unit"),
        "samples": ("probe tensor", "loss per squared metric unit"),
    }
    _labels: ClassVar[Mapping[str, str]] = {"tensor": "names"}

    names: tuple[str, ...]
    sizes: np.ndarray
    values: np.ndarray
    standard_errors: np.ndarray
    samples: np.ndarray
    exact: bool
    dimension: int
    config: dict[str, Any]
    cost: Cost

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        return tuple(value) if name == "names" else super()._revive(name, value)

    @property
    def total(self) -> tuple[float, float]:
        """The trace of the whole operator from the same probes, and its standard error."""
        sums = self.samples.sum(1)
        error = 0.0 if self.exact else float(np.std(sums, ddof=1)) / math.sqrt(len(sums))
        return float(self.values.sum()), error

    def table(self) -> str:
        """Return one row per tensor, and one for all."""
        rows = [
            [name, f"{size:,}", f"{value:.6g}", f"{error:.2g}", f"{value / size:.4g}"]
            for name, size, value, error in zip(self.names, self.sizes, self.values, self.standard_errors, strict=True)
        ]
        value, error = self.total
        rows.append(["all", f"{self.dimension:,}", f"{value:.6g}", f"{error:.2g}", ""])
        return columns(["tensor", "entries", "trace", "standard error", "mean"], rows, left=["tensor"])

    def _series(self) -> dict[str, Any]:
        return {
            "tensor": list(self.names),
            "entries": self.sizes,
            "trace_loss_per_unit2": self.values,
            "standard_error_loss_per_unit2": self.standard_errors,
            "mean_loss_per_unit2": self.values / self.sizes,
        }

    def _brief(self) -> str:
        (value, error), matrix = self.total, matrix_name(self.config)
        return f"{len(self.names)} tensors of the {matrix}, n = {self.dimension:,}, total {value:.6g} ± {error:.2g}"

    def __str__(self) -> str:
        how = "exact, by unit vectors" if self.exact else f"{len(self.samples)} probes"
        matrix = matrix_name(self.config)
        return f"trace of the {matrix} by tensor: {how}, {_products(self.cost)}\n{self.table()}"


@dataclass(frozen=True)
class Diagonal(Result):
    """The diagonal of a symmetric operator, with a standard error for each entry.

    Attributes:
        values: the diagonal, shape (n,).
        standard_errors: of each entry, shape (n,); 0 where it is exact.
        exact: whether unit vectors took the place of random probes.
        probes: number of products.
        config: everything that determines the numbers.
        cost: the products.
    """

    kind: ClassVar[str] = "diagonal"
    _layout: ClassVar[Layout] = {
        "values": ("entry", "loss per squared metric unit"),
        "standard_errors": ("entry", "loss per squared metric unit"),
    }

    values: np.ndarray
    standard_errors: np.ndarray
    exact: bool
    probes: int
    config: dict[str, Any]
    cost: Cost

    def table(self) -> str:
        """Return quantiles of the entries and of their errors."""
        rows = [
            [name, *(f"{x:.4g}" for x in np.quantile(values, [0.0, 0.05, 0.5, 0.95, 1.0]))]
            for name, values in (("value", self.values), ("standard error", self.standard_errors))
        ]
        return columns(["", "smallest", "5 %", "median", "95 %", "largest"], rows, left=[""])

    def _series(self) -> dict[str, Any]:
        return {
            "entry": np.arange(len(self.values)),
            "value_loss_per_unit2": self.values,
            "standard_error_loss_per_unit2": self.standard_errors,
        }

    def _brief(self) -> str:
        how = "exact" if self.exact else f"{self.probes} probes"
        n, mean = len(self.values), float(self.values.mean())
        return f"{n:,} entries of the {matrix_name(self.config)} ({how}), mean {mean:.5g}"

    def __str__(self) -> str:
        how = "exact, by unit vectors" if self.exact else f"{self.probes} probes"
        matrix = matrix_name(self.config)
        return f"diagonal of the {matrix}: {how}, n = {len(self.values):,}, {_products(self.cost)}\n{self.table()}"


def matrix_name(config: Mapping[str, Any]) -> str:
    """Return what a configuration calls its matrix.

    >>> matrix_name({"operator": "hessian", "metric": "filter"}), matrix_name({"operator": "Dense"})
    ('Hessian in filter metric', 'Dense operator')
    """
    operator, metric = config.get("operator", "unknown"), config.get("metric", "identity")
    name = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}.get(operator, f"{operator} operator")
    return name if metric == "identity" else f"{name} in {metric} metric"


def _products(cost: Cost) -> str:
    return f"{cost.evaluations:,.0f} products"
