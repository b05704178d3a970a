"""The local learning coefficient: how many effective parameters the loss feels near the trained point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.measures.llc.chains import Chains, run_chains
from landscape.measures.llc.diagnostics import effective_sample_size, split_rhat, standard_error, starts_apart
from landscape.measures.llc.pilot import Tuned, run_pilot
from landscape.measures.llc.posterior import Posterior
from landscape.measures.llc.samplers import EXACT_SAMPLERS, Kernel
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.measures.settings import Settings
from landscape.objective import Objective
from landscape.results.sharpness import NOT_MIXED
from landscape.results.table import percent

# Judged by `python -m benchmarks.llc_calibration` on problems of known value. Of the runs that have mixed, 95 % hold it
# within two standard errors, as many as should; with 50 in place of 150 independent draws 89 % do.
# Most of these runs are quadratics: of singular problems hardly one has got so far.
MIXED_RHAT = 1.1  #: split R-hat of the loss above which chains have not mixed
MIXED_DISTANCE = 1.3  #: that of the distance, which the loss feels only in part
MIXED_ESS = 150.0  #: effective sample size below which they have not
MIXED_STARTS = 4.0  #: difference between the means of the two starts, in standard errors, above which they have not
_LEAST_ACCEPTED = 0.1
_PULL = 10.0  # γ, in units of 1 / mean squared weight
_BURN_IN = 4  # the burn-in takes a quarter as many gradients as count
_STEPS, _STEPS_APART = 1_000, 200  # gradients of each chain by default: if points run together, and one at a time
_SHARE, _PILOT_SHARE = 1 / 2, 1 / 6  # of the budget left that the whole, and the pilot, may take
_LOWER = 0.01  # of the value: how much lower than at the trained point a loss must be to be reported


@measure("llc", larger="sharper", closed_form=True, core=True, invariant=("permutation",), anytime=True)
def llc(objective: Objective, draws: Draws) -> Reading:
    """Return λ̂ = nβ (E L - L*), the mean over exp(-nβ L(w) - γ |w - w*|² / 2) by chains around the trained point w*.

    nβ is n / log n for n samples, unless given. γ is 10 / mean of w*², unless given: the pull alone would let each
    weight move by a third of a typical weight. On a quadratic λ̂ = ½ Σ nβ h / (nβ h + γ). The verdict is ``not mixed``
    if the chains, half of which start far out, disagree. The value is never clipped.

    Sources: Lau, Furman, Wang, Murfet & Wei 2023; Watanabe 2013 for nβ = n / log n. Departures: chains are exact by
    default, start from two sides, and no burn-in is averaged in.
    """
    settings = chosen_settings(objective, draws.settings)
    posterior = Posterior(draws, chosen_nbeta(objective, settings.nbeta), chosen_gamma(objective, settings.gamma))
    begun = draws.left()
    with objective.running():
        tuned = run_pilot(posterior, settings, _deadline(draws, (1 - _PILOT_SHARE) * begun))
        leaps, steps = tuned.kernel.leaps, settings.steps or _STEPS
        burn_in, count = -(-steps // _BURN_IN // leaps), -(-steps // leaps)
        chains = run_chains(posterior, tuned, settings.seed, burn_in, count, _deadline(draws, (1 - _SHARE) * begun))
    return _reading(posterior, tuned, chains)


def chosen_settings(objective: Objective, settings: Settings) -> Settings:
    """Return settings with a sampler and a number of steps.

    Exact chains need all data for each gradient. If points cannot run together, a gradient costs as much for each
    chain, so minibatches have to do.
    """
    together = objective.plan.lanes > 1
    sampler = ("hmc" if together else "sgld") if settings.sampler == "auto" else settings.sampler
    return replace(settings, sampler=sampler, steps=settings.steps or (_STEPS if together else _STEPS_APART))


def chosen_nbeta(objective: Objective, nbeta: float | None) -> float:
    """Return nβ: as given, or n / log n (Watanabe 2013).

    Raises:
        LandscapeError: if there are no samples to take it from.
    """
    if nbeta is not None:
        return nbeta
    if objective.samples < 2:
        raise LandscapeError(
            f"`llc` takes nβ = n / log n from the number of samples, and there is {objective.samples}. "
            "Pass `nbeta=1000`, for instance."
        )
    return objective.samples / math.log(objective.samples)


def chosen_gamma(objective: Objective, gamma: float | None) -> float:
    """Return γ: as given, or 10 / mean of the squared weights in scope; 1 if they are all 0."""
    if gamma is not None:
        return gamma
    mean_square = float(objective.scope.gather(objective.theta).double().square().mean())
    return _PULL / mean_square if mean_square > 0 else 1.0


def _deadline(draws: Draws, reserve: float) -> Callable[[], bool]:
    """Return a function that says whether no more than the share ``reserve`` of the budget is left."""

    def over() -> bool:
        spent = draws.left() <= reserve
        draws.cut |= spent
        return spent

    return over


@dataclass(frozen=True)
class Mixing:
    """What says whether chains have mixed; NaN if there are too few draws.

    Attributes:
        r_hat: split R-hat of the loss.
        r_hat_distance: that of the squared distance from the trained point, which moves slowest.
        ess: effective sample size of the loss.
        starts_apart: distance between the means of the two kinds of start, in standard errors.
    """

    r_hat: float = math.nan
    r_hat_distance: float = math.nan
    ess: float = math.nan
    starts_apart: float = math.nan

    @classmethod
    def of(cls, chains: Chains) -> Mixing:
        """Return what chains show."""
        if chains.rises.shape[1] < 2:
            return cls()
        return cls(
            split_rhat(chains.rises),
            split_rhat(chains.distances),
            effective_sample_size(chains.rises),
            starts_apart(chains.rises, chains.inside),
        )

    @property
    def doubts(self) -> Iterator[str]:
        """Why the chains have not mixed; nothing if they have."""
        if not self.r_hat <= MIXED_RHAT:
            yield f"the losses of the chains disagree (split R-hat {self.r_hat:.3f}, mixed at {MIXED_RHAT})"
        if not self.r_hat_distance <= MIXED_DISTANCE:
            drift = self.r_hat_distance
            yield f"the chains still drift (split R-hat of the distance {drift:.3f}, mixed at {MIXED_DISTANCE})"
        if not self.ess >= MIXED_ESS:
            yield f"the draws are worth {self.ess:.0f} independent ones, of {MIXED_ESS:.0f} wanted"
        if self.starts_apart > MIXED_STARTS:
            yield f"chains from the trained point and from outside differ by {self.starts_apart:.1f} standard errors"


def _reading(posterior: Posterior, tuned: Tuned, chains: Chains) -> Reading:
    """Return the value of chains with its error, and what limits it."""
    values = posterior.nbeta * chains.rises
    if not values.size:
        raise LandscapeError(
            "the budget ended before the first draw. Pass a larger `budget=...`, or fewer `steps=...`."
        )
    value = float(values.mean())
    error = standard_error(values) if values.shape[1] >= 2 else math.nan
    mixing, kernel = Mixing.of(chains), tuned.kernel
    unmixed = _why_not_mixed(chains, kernel, mixing)
    config = {
        "nbeta_taken": posterior.nbeta,
        "gamma_taken": posterior.gamma,
        "sampler_taken": kernel.sampler,
        "step_size_taken": kernel.step_size,
        "leaps": kernel.leaps,
        "draws_taken": chains.rises.shape[1],
        "burn_in": chains.burn_in,
        "inside": chains.inside,
        "acceptance": chains.acceptance,
        **asdict(mixing),
        "step_bias": tuned.step_bias,
        "minibatch_taken": kernel.minibatches.samples if kernel.minibatches else posterior.objective.samples,
    }
    reasons = (*unmixed, *_what_limits(posterior, tuned, chains, value, error))
    return Reading(value, error, NOT_MIXED if unmixed else "", reasons, values.ravel(), config)


def _why_not_mixed(chains: Chains, kernel: Kernel, mixing: Mixing) -> tuple[str, ...]:
    """Return why the chains cannot be trusted, and what to do; nothing if they can."""
    why = []
    if chains.stopped:
        why.append(f"the budget ended after {chains.rises.shape[1]} draws per chain; pass a larger `budget=...`")
    if kernel.sampler in EXACT_SAMPLERS and chains.acceptance < _LEAST_ACCEPTED:
        why.append(f"only {percent(chains.acceptance)} of the moves were accepted; pass a smaller `step_size=...`")
    doubts = list(mixing.doubts)
    if doubts:
        doubts[-1] += "; pass more `steps=...`, or a larger `gamma=...`"
    return (*why, *doubts)


def _what_limits(posterior: Posterior, tuned: Tuned, chains: Chains, value: float, error: float) -> tuple[str, ...]:
    """Return what a reader of a mixed value should know too."""
    limits = []
    found = chains.rises if tuned.kernel.minibatches is None else chains.ends
    lowest = float(min(found.min(initial=0.0), chains.ends.min()))
    if -posterior.nbeta * lowest > max(_LOWER * abs(value), posterior.nbeta * posterior.draws.rounding):
        limits.append(
            f"the trained point is no minimum: chains found a loss lower by {-lowest:.2g}. The value compares with the "
            "trained point, and may be negative"
        )
    if tuned.step_bias > error:
        limits.append(f"the step of SGLD adds about {tuned.step_bias:.2g}; pass a smaller `step_size=...`")
    if chains.rises.size and not np.isfinite(value):
        limits.append("the loss is infinite or NaN at some draws")
    return tuple(limits)
