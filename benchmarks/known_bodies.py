"""Bodies whose volume is known: how near the annealed estimate comes, and how often its verdict is right.

python -m benchmarks.known_bodies ellipsoids 500 2000 10000
python -m benchmarks.known_bodies bodies 5 10 50
python -m benchmarks.known_bodies honesty 3 6 20
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln, logsumexp
from torch import Tensor

import landscape as ls
from landscape.volume import annealed_volume, log_unit_ball

CUTOFF = 0.1
CHAINS = 32
TEMPERATURES = {500: 1500, 2000: 1000, 10_000: 1000}
EFFORTS = {3: (4, 16), 5: (60,), 6: (8, 40), 10: (100,), 20: (20, 120), 50: (400,)}
SEEDS = 7  # of each body and effort in the honesty experiment


def cosine_transform(n: int) -> Callable[[Tensor], Tensor]:
    """Return the orthonormal cosine transform (DCT-II) of the last axis, by one FFT of real numbers (Makhoul 1980)."""
    turn = torch.exp(-1j * math.pi * torch.arange(n // 2 + 1, dtype=torch.float64) / (2 * n))
    scale = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64)
    scale[0] = math.sqrt(1 / n)

    def transform(x: Tensor) -> Tensor:
        woven = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
        low = torch.fft.rfft(woven) * turn
        high = -low.imag[..., 1 : (n + 1) // 2].flip(-1)
        return torch.cat([low.real, high], -1) * scale

    return transform


def rotated_ellipsoid(n: int, seed: int = 0) -> tuple[ls.Objective, float]:
    """Return f(x) = 1/2 sum of (Q x)_i^2 / i and its log-volume below the cutoff; Q: random signs, cosine transform."""
    signs = torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], size=n))
    curvatures = 1 / torch.arange(1, n + 1, dtype=torch.float64)
    rotate = cosine_transform(n)
    objective = ls.Objective.from_function(
        lambda x: 0.5 * (curvatures * rotate(signs * x).square()).sum(-1), torch.zeros(n, dtype=torch.float64)
    )
    return objective, log_unit_ball(n) + 0.5 * float(np.log(2 * CUTOFF / curvatures.numpy()).sum())


@dataclass(frozen=True)
class Body:
    """A body of known volume and how to measure it."""

    name: str
    objective: ls.Objective
    truth: float
    cutoff: float = 1.0
    max_radius: float = math.inf


def lp_ball(n: int, p: float) -> Body:
    """sum of |x_i|^p < 1."""
    truth = n * math.log(2 * math.gamma(1 + 1 / p)) - float(gammaln(1 + n / p))
    start = torch.zeros(n, dtype=torch.float64)
    return Body(f"Lp ball, p = {p:g}", ls.Objective.from_function(lambda x: x.abs().pow(p).sum(-1), start), truth)


def simplex(n: int) -> Body:
    """x_i > 0 with a sum below 1, around its centre of mass."""
    start = torch.full((n,), 1 / (n + 1), dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return torch.maximum(-x.amin(-1), x.sum(-1) - 1) + 1

    return Body("simplex", ls.Objective.from_function(f, start), -float(gammaln(n + 1)))


def box(n: int) -> Body:
    """|x_i| < 1, around a point half way to a corner."""
    start = torch.full((n,), 0.5, dtype=torch.float64)
    return Body("box, off its centre", ls.Objective.from_function(lambda x: x.abs().amax(-1), start), n * math.log(2))


def spiked_ball(n: int, length: float = 3.0) -> Body:
    """The unit ball and a cone around the first axis with its tip at the centre, of half-angle 0.5, out to a sphere."""
    start, cosine = torch.zeros(n, dtype=torch.float64), math.cos(0.5)

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        return torch.where(x[..., 0] > cosine * size, size / length, size)

    angle = (np.arange(100_000) + 0.5) * 0.5 / 100_000
    log_share = logsumexp((n - 2) * np.log(np.sin(angle))) + math.log(0.5 / 100_000)
    log_share -= 0.5 * math.log(math.pi) + float(gammaln((n - 1) / 2) - gammaln(n / 2))
    truth = log_unit_ball(n) + math.log1p(math.exp(log_share) * (length**n - 1))
    return Body("ball with a spike", ls.Objective.from_function(f, start), truth)


def cut_ellipsoid(n: int) -> Body:
    """A slab |x_1| < 1/2 in the unit ball: the cap bounds all the other directions."""
    start = torch.zeros(n, dtype=torch.float64)
    share = np.linspace(-0.5, 0.5, 200_001)
    density = (1 - share**2) ** ((n - 1) / 2)
    truth = log_unit_ball(n - 1) + math.log(float(np.trapezoid(density, share)))
    return Body("slab, capped", ls.Objective.from_function(lambda x: 2 * x[..., 0].abs(), start), truth, max_radius=1.0)


def behind_walls(n: int) -> Body:
    """The unit ball; for x_1 > 0 a wall at 0.7 with more room behind it, which rays from the centre do not reach."""
    start = torch.zeros(n, dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        wall = (x[..., 0] > 0) & (size > 0.7) & (size < 1.5)
        return torch.where(wall, 2.0, torch.where(x[..., 0] > 0, size / 3, size))

    truth = log_unit_ball(n) + math.log((1 + 0.7**n) / 2)
    return Body("not star-shaped", ls.Objective.from_function(f, start), truth)


def bodies(n: int) -> list[Body]:
    """Return the bodies in n dimensions; the spike and the walls where a chain can find them."""
    ellipsoid, truth = rotated_ellipsoid(n)
    return [
        Body("ellipsoid", ellipsoid, truth, CUTOFF),
        *(lp_ball(n, p) for p in (1.0, 4.0, 8.0)),
        simplex(n),
        box(n),
        cut_ellipsoid(n),
        *([spiked_ball(n), behind_walls(n)] if n <= 10 else []),
    ]


def measure(body: Body, temperatures: int, seed: int, chains: int = CHAINS) -> ls.VolumeEstimate:
    """Return the annealed estimate of one body."""
    return annealed_volume(
        body.objective,
        [body.cutoff],
        metric="identity",
        chains=chains,
        temperatures=temperatures,
        seed=seed,
        max_radius=body.max_radius,
    ).results[0]


def ellipsoids(sizes: list[int]) -> Iterator[str]:
    """Yield the table of the ill-conditioned ellipsoids."""
    yield "| n | temperatures | seed | log V - truth | uniform - truth | ess | verdict | evaluations/chain | CPU min |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for n in sizes:
        objective, truth = rotated_ellipsoid(n)
        plain = ls.log_volume(objective, [CUTOFF], metric="identity", directions=CHAINS).results[0].log_volume
        for seed in (0, 1, 2) if n <= 500 else (0,):
            started = time.process_time()
            found = annealed_volume(
                objective, [CUTOFF], metric="identity", chains=CHAINS, temperatures=TEMPERATURES[n], seed=seed
            )
            row = found.results[0]
            yield (
                f"| {n:,} | {TEMPERATURES[n]:,} | {seed} | {row.log_volume - truth:+.2f} | {plain - truth:+,.0f} | "
                f"{row.ess:.1f} | {row.verdict} | {found.cost.evaluations / CHAINS:,.0f} | "
                f"{(time.process_time() - started) / 60:.2f} |"
            )


def shapes(sizes: list[int]) -> Iterator[str]:
    """Yield the table of all bodies."""
    yield "| body | n | log V - truth | interval - truth | ess | verdict | holds |"
    yield "|---|---|---|---|---|---|---|"
    for n in sizes:
        for body in bodies(n):
            row = measure(body, EFFORTS[n][-1], seed=0)
            low, high = (end - body.truth for end in row.interval)
            yield (
                f"| {body.name} | {n} | {row.log_volume - body.truth:+.2f} | [{low:+.2f}, {high:+.2f}] | {row.ess:.1f} "
                f"| {row.verdict} | {'yes' if low <= 0 <= high else 'NO'} |"
            )


def honesty(sizes: list[int]) -> Iterator[str]:
    """Yield how often the verdict was right, over bodies, efforts and seeds from 100."""
    yield "| n | temperatures | runs | reliable | truth inside | lower bounds | violated |"
    yield "|---|---|---|---|---|---|---|"
    totals = np.zeros(5, dtype=int)
    for n in sizes:
        for temperatures in EFFORTS[n]:
            counts = np.zeros(5, dtype=int)
            for body in bodies(n):
                for seed in range(SEEDS):
                    row = measure(body, temperatures, seed=100 + seed)
                    low, high = row.interval
                    inside, reliable = low <= body.truth <= high, row.verdict == "reliable"
                    counts += [1, reliable, reliable and inside, not reliable, not reliable and low > body.truth]
                    if not inside:
                        print(f"{body.name}, n = {n}, seed {seed}: [{low:.3f}, {high:.3f}], truth {body.truth:.3f}")
            totals += counts
            yield "| " + " | ".join(map(str, (n, temperatures, *counts))) + " |"
    yield "| all | | " + " | ".join(map(str, totals)) + " |"


def main(words: list[str]) -> None:
    """Print one of the tables."""
    tables = {"ellipsoids": ellipsoids, "bodies": shapes, "honesty": honesty}
    for line in tables[words[0]]([int(word) for word in words[1:]]):
        print(line, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:] or ["bodies", "5"])
