"""The Fisher-Rao norm of the weights: how far the loss moves if all weights grow by the same share."""

from __future__ import annotations

from landscape.measures.draws import Draws
from landscape.measures.logits import logits_of_all
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective


@measure(
    "fisher-rao",
    larger="sharper",
    closed_form=True,
    core=True,
    invariant=("relu-rescaling", "permutation", "batch-size"),
)
def fisher_rao(objective: Objective, draws: Draws) -> Reading:
    """Return depth² · the mean over samples of (<p, f> - f_y)², with logits f, probabilities p and right class y.

    The depth is the number of weight matrices, L + 1 in a net with L hidden layers. For a ReLU net without biases it is
    w' F w over all weights. F is the empirical Fisher matrix, the mean of g g' over the gradients g of the samples' own
    losses, and not the Gauss-Newton matrix. For other nets only the formula holds.

    Source: Liang, Poggio, Rakhlin & Stokes 2019.
    """
    logits = logits_of_all(draws)
    expected = (logits.values.softmax(-1) * logits.values).sum(-1)
    depth = sum(entry.kernel for entry in objective.layout.entries)
    terms = depth**2 * (expected - logits.right).square()
    return Reading(float(terms.mean()), config={"matrix": "empirical Fisher", "depth": depth})
