"""How often the stated errors of measures of random noise hold, on nets of digits: runs against one of many draws.

    python -m benchmarks.noise_errors [--runs 200] [--truth 8000]

Each run takes the default 20 draws. Its score is (value - truth) / error. If errors are right, scores have the root
mean square 1. The truth is a run of many draws with another seed, whose own error is added to that of a run. Nets
differ in size and in the loss to which they are trained. If few directions carry the rise of the loss, ten pairs of
draws miss them.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch.nn import functional as F

import landscape as ls
from benchmarks.page import command_line
from landscape.measures.settings import DRAWS
from landscape.recipes.digits import digits, network

MEASURES = ("average-case", "average-case-uniform", "pac-bayes", "pac-bayes-magnitude", "low-pass")
WIDTH, DEPTH = 16, 2  # of the small nets; the recipe makes the others, which have 7,626 parameters
NETS = ((False, 0.05), (True, 0.05), (True, 0.0005))  # whether a net is small, and the loss at which training ends
SEEDS = (0, 1)
TRUTH_SEED = 10**6  #: of the long run; runs have the seeds 0, 1, 2, ...


def trained(small: bool, loss: float, seed: int) -> ls.Objective:
    """Return the loss of a net on 300 digits, trained by Adam."""
    (inputs, targets), *_ = digits()
    net = network(seed, WIDTH, DEPTH) if small else network(seed)
    optimiser = torch.optim.Adam(net.parameters(), 0.003)
    while (value := F.cross_entropy(net(inputs), targets)) > loss:
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return ls.Objective(net, (inputs, targets))


def scatter(objective: ls.Objective, runs: int, truth: int) -> dict[str, float]:
    """Return the root mean square of the scores of each measure."""
    known = ls.sharpness(objective, MEASURES, draws=truth, seed=TRUTH_SEED, budget=None)
    scores: dict[str, list[float]] = {name: [] for name in MEASURES}
    for seed in range(runs):
        table = ls.sharpness(objective, MEASURES, draws=DRAWS, seed=seed, budget=None)
        for name, measure in table.measures.items():
            error = np.hypot(measure.standard_error, known[name].standard_error)
            scores[name].append((measure.value - known[name].value) / error)
    return {name: float(np.sqrt(np.mean(np.square(each)))) for name, each in scores.items()}


def main() -> None:
    """Run the command."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--truth", type=int, default=8_000)
    options = parser.parse_args()
    print("weights, loss, seed: root mean square of the scores")
    for (small, loss), seed in product(NETS, SEEDS):
        objective = trained(small, loss, seed)
        found = scatter(objective, options.runs, options.truth)
        print(
            f"{objective.dimension:,}, {loss:g}, {seed}: "
            + ", ".join(f"{name} {value:.2f}" for name, value in found.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
