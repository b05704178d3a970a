"""How eigenvalues are distributed: the spectral density, and the log-determinant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.curvature import matrix_name
from landscape.results.dataset import Layout
from landscape.results.table import columns, percent

_PER_WIDTH = 4  # points of the grid
_REACH = 28  # points on each side of a node: seven widths, where the kernel has fallen by ten decades
_BETWEEN = 200  # points of the grid, whatever lies there
_ABSENT = 1e-14  # weights below are rounding
_FINEST = 1e-3  # of the whole range, for a width
_RESOLVED = 0.1  # bounds of a share that lie closer than this give a number
_ERRORS = 2.0  # standard errors between probes that bounds include


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
    _layout: ClassVar[Layout] = {
        "nodes": ("probe step", "loss per squared metric unit"),
        "weights": ("probe step", "1"),
    }

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
        """The share of eigenvalues that are 0 to rounding; NaN if the steps do not resolve it."""
        share = float((self.weights * (np.abs(self.nodes) <= self.zero)).sum(1).mean())
        return share if self._resolves(*self._zero) else math.nan

    @property
    def negative_share(self) -> float:
        """The share of eigenvalues below 0, beyond rounding; NaN if the steps do not resolve it."""
        share = float((self.weights * (self.nodes < -self.zero)).sum(1).mean())
        return share if self._resolves(*self._negative) else math.nan

    @property
    def zero_bounds(self) -> tuple[float, float]:
        """Bounds of the share of eigenvalues that are 0 to rounding."""
        return self.share_bounds(*self._zero)

    @property
    def negative_bounds(self) -> tuple[float, float]:
        """Bounds of the share of eigenvalues below 0, beyond rounding."""
        return self.share_bounds(*self._negative)

    @property
    def _zero(self) -> tuple[float, float]:
        return -self.zero, self.zero

    @property
    def _negative(self) -> tuple[float, float]:
        return -math.inf, float(np.nextafter(-self.zero, -math.inf))

    def share_bounds(self, low: float, high: float, errors: float = 2.0) -> tuple[float, float]:
        """Return bounds of the share of eigenvalues from ``low`` to ``high``, both included.

        The steps fix the first moments of the distribution that a probe sees, and no more. In every distribution with
        these moments, the share below a node is at least the sum of the weights below it. The share up to the node is
        at most the sum up to it (Chebyshev, Markov and Stieltjes; Szegő 1939, section 3.41). The bounds hold for all of
        them, and include ``errors`` standard errors between probes. If the chains have ended, nodes are eigenvalues.
        """
        least, most = self._cumulative(np.array([np.nextafter(low, -math.inf), high]))
        bounds = np.maximum(least[:, 1] - most[:, 0], 0.0), np.minimum(most[:, 1] - least[:, 0], 1.0)
        (least_share, low_error), (most_share, high_error) = (self._mean(bound) for bound in bounds)
        return max(least_share - errors * low_error, 0.0), min(most_share + errors * high_error, 1.0)

    def _resolves(self, low: float, high: float) -> bool:
        """Return whether the steps leave little room for the share from ``low`` to ``high``."""
        least, most = self.share_bounds(low, high, errors=0.0)
        return most - least <= _RESOLVED

    def quantile_bounds(self, share: float) -> tuple[float, float]:
        """Return bounds of the eigenvalue up to which this share of eigenvalues lies, as in :meth:`share_bounds`.

        They are nodes, or infinite if the steps bound the eigenvalue on one side only.
        """
        points = np.unique(self.nodes[self.weights > _ABSENT])
        least, _ = self._cumulative(points)
        _, most = self._cumulative(np.nextafter(np.append(-math.inf, points), math.inf))  # it rises beyond a node
        error = 0.0 if self.exact else _ERRORS / math.sqrt(len(self.nodes))
        spread = (0.0, 0.0) if self.exact else (least.std(0, ddof=1), most.std(0, ddof=1))
        must = points[least.mean(0) - error * spread[0] >= share * (1 - 1e-12)]
        could = np.append(-math.inf, points)[most.mean(0) + error * spread[1] >= share * (1 - 1e-12)]
        return float(could[0]), float(must[0]) if len(must) else math.inf

    def _cumulative(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest share of eigenvalues up to and including x, shape (probes, points) each."""
        least, most = np.zeros((2, len(self.nodes), len(x)))
        for probe, (nodes, weights) in enumerate(zip(self.nodes, self.weights, strict=True)):
            present = weights > _ABSENT
            sums = np.concatenate([[0.0], np.cumsum(weights[present])])
            reached = np.searchsorted(nodes[present], x, side="right")
            if self.ended:
                least[probe] = most[probe] = sums[reached]
            else:
                between = np.searchsorted(nodes[present], x, side="left") == reached
                least[probe] = sums[np.maximum(reached - 1, 0)]
                most[probe] = sums[np.minimum(reached + between, len(sums) - 1)]
        return least, most

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
        """Return the least node up to which this share of the weights lies (see :meth:`quantile_bounds`)."""
        order = np.argsort(self.nodes, axis=None)
        summed = np.cumsum(self.weights.ravel()[order]) / len(self.nodes)
        at = min(int(np.searchsorted(summed, share * (1 - 1e-12))), len(summed) - 1)
        return float(self.nodes.ravel()[order][at])

    def _mean(self, samples: np.ndarray) -> tuple[float, float]:
        error = 0.0 if self.exact else float(samples.std(ddof=1)) / math.sqrt(len(samples))
        return float(samples.mean()), error

    def table(self) -> str:
        """Return quantiles, the trace and shares around 0 in one row each, as far as the steps resolve them."""
        (value, error), (low, high), width = self.trace, self.extremes, self.width
        shares = [
            ("below 0", self._negative),
            (f"0 to rounding (below {self.zero:.0e})", self._zero),
            (f"below -{width:.2g}", (-math.inf, -width)),
            (f"within ±{width:.2g} of 0", (-width, width)),
        ]
        resolved = all(self._resolves(*ends) for _, ends in shares[:2])
        rows = [
            ["smallest node", f"{low:.5g}"],
            *([f"{percent(share, 0)} below", self._quantile_text(share)] for share in (0.05, 0.5, 0.95)),
            ["largest node", f"{high:.5g}"],
            ["trace", f"{value:.6g} ± {error:.2g}"],
            *([name, self._share_text(*ends)] for name, ends in shares[: 2 if resolved else 4]),
        ]
        return columns(["", "value"], rows, left=[""])

    def _share_text(self, low: float, high: float) -> str:
        """Return the share from ``low`` to ``high`` as bounds in per cent; say so if the steps do not resolve it."""
        if not self._resolves(low, high):
            return f"not resolved by {self.nodes.shape[1]} steps"
        least, most = (percent(bound) for bound in self.share_bounds(low, high))
        return least if least == most else f"{least} to {most}"

    @property
    def around_zero(self) -> str:
        """The shares below 0 and at 0 in words."""
        below, at = self._share_text(*self._negative), self._share_text(*self._zero)
        return f"shares below 0 and at 0: {at}" if below == at else f"below 0: {below}; 0 to rounding: {at}"

    def _quantile_text(self, share: float) -> str:
        low, high = (f"{bound:.5g}" for bound in self.quantile_bounds(share))
        return low if low == high else f"{low} to {high}".replace("-inf to", "up to").replace("to inf", "or more")

    def _series(self) -> dict[str, Any]:
        probes, steps = self.nodes.shape
        return {
            "probe": np.repeat(np.arange(probes), steps),
            "node_loss_per_unit2": self.nodes.ravel(),
            "weight_share": self.weights.ravel(),
        }

    def _brief(self) -> str:
        (low, high), (probes, steps) = self.extremes, self.nodes.shape
        matrix = matrix_name(self.config)
        return f"{matrix}, n = {self.dimension:,}, {probes} probes of {steps} steps, nodes {low:.5g} to {high:.5g}"

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
    _layout: ClassVar[Layout] = {
        "value": ("", "nats"),
        "standard_error": ("", "nats"),
        "quadrature_error": ("", "nats"),
        "negative": ("", "1"),
        "negative_error": ("", "1"),
        "zero": ("", "1"),
        "samples": ("probe", "nats"),
        "shift": ("", "loss per squared metric unit"),
    }

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

    def _series(self) -> dict[str, Any]:
        return {
            "log_determinant_nats": [self.value],
            "standard_error_nats": [self.standard_error],
            "quadrature_error_nats": [self.quadrature_error],
            "negative_eigenvalues": [self.negative],
            "zero_eigenvalues": [self.zero],
            "shift_loss_per_unit2": [self.shift],
        }

    def _brief(self) -> str:
        sure = "" if self.definite else ", not positive definite"
        matrix = matrix_name(self.config) + (f" + {self.shift:g}" if self.shift else "")
        return f"{self.value:.8g} ± {self.error:.2g} nats of the {matrix}, n = {self.dimension:,}{sure}"

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
