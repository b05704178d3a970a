"""How eigenvalues are distributed: the spectral density, and the log-determinant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.curvature import matrix_name
from landscape.results.table import columns, percent

_PER_WIDTH = 4  # points of the grid
_REACH = 28  # points on each side of a node: seven widths, where the kernel has fallen by ten decades
_BETWEEN = 200  # points of the grid, whatever lies there
_ABSENT = 1e-14  # weights below are rounding
_FINEST = 1e-3  # of the whole range, for a width


@dataclass(frozen=True)
class SpectralDensity(Result):
    """The distribution of the eigenvalues of a symmetric operator, as nodes and weights of each probe.

    Attributes:
        nodes: eigenvalues that stand for the spectrum, ascending for each probe, shape (probes, steps).
        weights: the share of the eigenvalues at each, shape (probes, steps); those of a probe sum to 1.
        exact: whether unit vectors took the place of random probes, so that there is no scatter between them.
        ended: whether every chain of Lanczos came to its end, so that the nodes are eigenvalues.
        zero: absolute value below which a node is 0 to rounding.
        dimension: n.
        config: everything that determines the numbers.
        cost: the products.
    """

    kind: ClassVar[str] = "spectral_density"

    nodes: np.ndarray
    weights: np.ndarray
    exact: bool
    ended: bool
    zero: float
    dimension: int
    config: dict[str, Any]
    cost: Cost

    @property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest node: never beyond the smallest and the largest eigenvalue."""
        present = self.nodes[self.weights > _ABSENT]
        return float(present.min()), float(present.max())

    def moment(self, power: int) -> tuple[float, float]:
        """Return the mean of eigenvalue^power and its standard error."""
        return self._mean((self.weights * self.nodes**power).sum(1))

    @property
    def trace(self) -> tuple[float, float]:
        """n times the mean eigenvalue, and its standard error."""
        mean, error = self.moment(1)
        return self.dimension * mean, self.dimension * error

    @property
    def zero_share(self) -> float:
        """The share of eigenvalues that are 0 to rounding: an atom of the density."""
        return float((self.weights * (np.abs(self.nodes) <= self.zero)).sum(1).mean())

    @property
    def negative_share(self) -> float:
        """The share of eigenvalues below 0, beyond rounding."""
        return float((self.weights * (self.nodes < -self.zero)).sum(1).mean())

    @property
    def width(self) -> float:
        """The default width of the kernel: what the steps resolve in the bulk; at least a thousandth of the range."""
        low, high = self.quantile(0.05), self.quantile(0.95)
        lowest, highest = self.extremes
        steps = self.nodes.shape[1]
        resolved = (high - low) * (1 / 40 if self.ended else max(1 / 40, 2 / steps))
        return max(resolved, _FINEST * (highest - lowest)) or _FINEST * abs(highest) or _FINEST

    def grid(self, width: float | None = None) -> np.ndarray:
        """Return points, ascending, close enough around every node to integrate the density by trapezoids."""
        pitch = (self.width if width is None else width) / _PER_WIDTH
        cells = np.unique(np.round(self.nodes[self.weights > _ABSENT] / pitch))
        near = np.unique(cells[:, None] + np.arange(-_REACH, _REACH + 1))
        # even steps around the nodes make the trapezoids exact; what fills the gaps lies on the same lattice
        return pitch * np.union1d(near, np.round(np.linspace(near[0], near[-1], _BETWEEN)))

    def density(self, grid: np.ndarray | None = None, width: float | None = None) -> np.ndarray:
        """Return the share of eigenvalues per unit of eigenvalue, smoothed by a Gaussian of this width.

        Its integral over the real line is 1, whatever the width.

        Args:
            grid: points, shape (points,); :meth:`grid` by default.
            width: standard deviation of the kernel.
        """
        return self.densities(grid, width).mean(0)

    def densities(self, grid: np.ndarray | None = None, width: float | None = None) -> np.ndarray:
        """Return the density that each probe gives, shape (probes, points)."""
        width = self.width if width is None else width
        points = self.grid(width) if grid is None else np.asarray(grid, dtype=float)
        smooth = np.empty((len(self.nodes), len(points)))
        for row, (nodes, weights) in enumerate(zip(self.nodes, self.weights, strict=True)):
            kernel = np.exp(-0.5 * ((points[:, None] - nodes) / width) ** 2)
            smooth[row] = kernel @ weights / (width * math.sqrt(2 * math.pi))
        return smooth

    def density_error(self, grid: np.ndarray | None = None, width: float | None = None) -> np.ndarray:
        """Return the standard error of :meth:`density` between probes, shape (points,)."""
        smooth = self.densities(grid, width)
        return np.zeros(smooth.shape[1]) if self.exact else smooth.std(0, ddof=1) / math.sqrt(len(smooth))

    def cdf(self, x: float | np.ndarray) -> np.ndarray:
        """Return the share of eigenvalues up to and including x, shape of x."""
        order = np.argsort(self.nodes, axis=None)
        summed = np.concatenate([[0.0], np.cumsum(self.weights.ravel()[order]) / len(self.nodes)])
        return summed[np.searchsorted(self.nodes.ravel()[order], x, side="right")]

    def quantile(self, share: float) -> float:
        """Return the least node up to which this share of eigenvalues lies."""
        order = np.argsort(self.nodes, axis=None)
        summed = np.cumsum(self.weights.ravel()[order]) / len(self.nodes)
        at = min(int(np.searchsorted(summed, share * (1 - 1e-12))), len(summed) - 1)
        return float(self.nodes.ravel()[order][at])

    def _mean(self, samples: np.ndarray) -> tuple[float, float]:
        error = 0.0 if self.exact else float(samples.std(ddof=1)) / math.sqrt(len(samples))
        return float(samples.mean()), error

    def table(self) -> str:
        """Return quantiles, the trace and the share at and below 0 in one row each."""
        (value, error), (low, high) = self.trace, self.extremes
        rows = [
            ["smallest node", f"{low:.5g}"],
            *([f"{share:.0%} below".replace("%", " %"), f"{self.quantile(share):.5g}"] for share in (0.05, 0.5, 0.95)),
            ["largest node", f"{high:.5g}"],
            ["trace", f"{value:.6g} ± {error:.2g}"],
            ["below 0", percent(self.negative_share)],
            [f"0 to rounding (below {self.zero:.0e})", percent(self.zero_share)],
        ]
        return columns(["", "value"], rows, left=[""])

    def __str__(self) -> str:
        how = "unit vectors" if self.exact else "random probes"
        probes, steps = self.nodes.shape
        matrix = matrix_name(self.config)
        head = f"spectral density of the {matrix}: {probes} {how} of {steps} steps, n = {self.dimension:,}"
        return f"{head}\n{self.table()}"


@dataclass(frozen=True)
class LogDeterminant(Result):
    """log |det(A + shift · 1)| of a symmetric operator, with its errors and what stands against its use.

    Attributes:
        value: natural log; -inf where eigenvalues are 0 to rounding.
        standard_error: of the mean over probes; 0 where they are exact.
        quadrature_error: estimate of what more steps would change.
        negative: how many eigenvalues are estimated to lie below 0.
        negative_error: standard error of that.
        zero: how many are estimated to be 0 to rounding.
        samples: the estimate from each probe, without the eigenvalues that are 0, shape (probes,).
        shift: what was added to the diagonal.
        exact: whether unit vectors took the place of random probes.
        dimension: n.
        config: everything that determines the numbers.
        cost: the products.
    """

    kind: ClassVar[str] = "log_determinant"

    value: float
    standard_error: float
    quadrature_error: float
    negative: float
    negative_error: float
    zero: float
    samples: np.ndarray
    shift: float
    exact: bool
    dimension: int
    config: dict[str, Any]
    cost: Cost

    @property
    def error(self) -> float:
        """Both errors together: the root of the sum of their squares."""
        return math.hypot(self.standard_error, self.quadrature_error)

    @property
    def definite(self) -> bool:
        """Whether no eigenvalue at or below 0 was seen, so that the value is the log of a positive determinant."""
        return self.negative == 0 and math.isfinite(self.value)

    def table(self) -> str:
        """Return the value with its two errors in one row."""
        row = [f"{self.value:.8g}", f"{self.standard_error:.2g}", f"{self.quadrature_error:.2g}"]
        return columns(["log |det|", "standard error", "quadrature error"], [row])

    def __str__(self) -> str:
        matrix = matrix_name(self.config) + (f" + {self.shift:g}" if self.shift else "")
        lines = [f"log-determinant of the {matrix}: {len(self.samples)} probes, n = {self.dimension:,}", self.table()]
        if not math.isfinite(self.value):
            lines.append(f"note: singular: about {self.zero:.3g} eigenvalues are 0 to rounding. Pass a shift above 0.")
        if self.negative > 0:
            within = round(self.negative_error, 3)
            lines.append(
                f"note: not positive definite: about {self.negative:.3g} ± {within:.2g} eigenvalues are negative, "
                "so this is log |det| and says nothing of a volume. Pass a larger shift."
            )
        return "\n".join(lines)
