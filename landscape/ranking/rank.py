"""Ranking measures: every statistic of every measure against one target, each with its interval."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from landscape.errors import LandscapeError
from landscape.ranking.baselines import RANDOM, canonical, controls_of, with_baselines
from landscape.ranking.configurations import FEWEST, Configurations, check_table
from landscape.ranking.differences import against_baselines, chance_of_best, paired_differences
from landscape.ranking.granulated import granulated, mean_of_defined
from landscape.ranking.information import PairTable, conditional_information
from landscape.ranking.kendall import kendall_tau, kendall_tau_of_nets
from landscape.ranking.rank_correlation import partial_correlation, spearman
from landscape.ranking.resamples import interval, permutations, resample_weights
from landscape.ranking.sign_error import FEWEST_EFFECTIVE, SignErrors, sign_errors
from landscape.results.base import Cost
from landscape.results.ranking import STATISTICS, Ranking
from landscape.results.runs import Runs

PROPORTIONS = ("error", "gap")  #: targets that are means over test samples, for which Hoeffding's inequality holds
INFORMATION_PERMUTATIONS = 100  #: of the information, of which the null needs the mean only
FEWEST_RESAMPLES = 20  #: of configurations
STEADY_RESAMPLES = 500  #: from which the ends of an interval of 95 % hardly move
CHANCE_RESAMPLES = 10  #: for each of these permutations


@dataclass(frozen=True)
class RankingSettings:
    """How a ranking is made.

    Attributes:
        bootstrap: resamples of configurations.
        permutations: of the target, for the bands of chance.
        seed: of resamples, permutations and the random baseline.
        effective_size: effective number of pairs of nets that an environment of the sign error needs.
        max_train_loss: nets above this train loss have not converged and are left out; None keeps all.
    """

    bootstrap: int = 2000
    permutations: int = 1000
    seed: int = 0
    effective_size: float = FEWEST_EFFECTIVE
    max_train_loss: float | None = None

    def __post_init__(self) -> None:
        if self.bootstrap < FEWEST_RESAMPLES:
            raise LandscapeError(f"an interval needs resamples: `bootstrap={FEWEST_RESAMPLES}` or more, better 2000.")


def rank_measures(
    runs: Runs, target: str = "gap", *, axes: Sequence[str] | None = None, measures: Sequence[str] | None = None,
    settings: RankingSettings | None = None,
) -> Ranking:  # fmt: skip
    """Return how well each measure of a family predicts generalisation.

    Args:
        runs: the family: axes, seeds, targets and measures of each net.
        target: what is predicted; larger is worse.
        axes: the axes that make a configuration; None takes all of the table.
        measures: the measures to rank; None takes all of the table. Baselines are always ranked with them.
        settings: resamples, permutations and the like.

    Raises:
        LandscapeError: fewer than 20 configurations, a target that is constant or not finite, an unknown name.

    >>> error = [0.1 * width + 0.01 * rate for width in range(5) for rate in range(5)]
    >>> axes = {"width": [w for w in range(5) for _ in range(5)], "rate": [r for _ in range(5) for r in range(5)]}
    >>> unknown = np.full((1, 25), np.nan)
    >>> family = Runs(tuple(map(str, range(25))), axes, ("0",) * 25, ("error",), np.array([error]), ("copy",),
    ...               np.array([error]), unknown, unknown, unknown)
    >>> ranking = rank_measures(family, "error", settings=RankingSettings(bootstrap=20, permutations=20))
    >>> ranking.estimate("Psi", "copy"), ranking.estimate("tau", "copy")
    (1.0, 1.0)
    """
    started = time.monotonic()
    settings = settings or RankingSettings()
    table = prepared(runs, target, axes, measures, settings)
    statistics = _Statistics(table, target, settings)
    config = {
        **asdict(settings),
        "target": target, "axes": list(table.axes), "measures": list(table.measures), **runs.config,
    }  # fmt: skip
    return statistics.ranking(config, started)


def prepared(
    runs: Runs, target: str, axes: Sequence[str] | None, measures: Sequence[str] | None, settings: RankingSettings
) -> Runs:
    """Return the table that is ranked: the chosen axes and measures, converged nets, and the baselines."""
    for names, known, word in ((axes, list(runs.axes), "axes"), (measures, list(runs.measures), "measures")):
        missing = [name for name in names or () if name not in known]
        if missing:
            raise LandscapeError(
                f"there is no column {missing[0]!r} among the {word}; the table has {', '.join(known) or 'none'}.\n"
                f"Pass some of them as `{word}=...`."
            )
    table = with_baselines(runs, settings.seed)
    if settings.max_train_loss is not None:
        table = _converged(table, settings.max_train_loss)
    if axes is not None:
        table = replace(table, axes={name: table.axes[name] for name in axes})
    if measures is not None:
        table = table.with_only((*measures, *(name for name in table.baselines if name not in measures)))
    check_table(table, target)
    if set(table.measures) <= set(table.baselines):
        raise LandscapeError("the table has no measure besides baselines. Add a column with the values of a measure.")
    return table


def ranked_table(runs: Runs, ranking: Ranking) -> Runs:
    """Return the table behind a ranking, with its baselines and without the nets that were left out."""
    settings = RankingSettings(**{each.name: ranking.config[each.name] for each in fields(RankingSettings)})
    own = [name for name in ranking.measures if name not in ranking.baselines]
    return prepared(runs, ranking.target, ranking.axes, own, settings)


def _converged(table: Runs, largest: float) -> Runs:
    """Return the nets whose train loss is small enough, and say how many are not."""
    rows = [name for name in table.measures if canonical(name) in ("train-loss", "training-loss")]
    if not rows:
        raise LandscapeError("`max_train_loss=...` needs a column train-loss, and the table has none.")
    kept = table.value(rows[0]) <= largest
    dropped = int((~kept).sum())
    note = f"{dropped} of {len(kept)} nets were left out: their train loss is above {largest:g}."
    return table.kept(kept, *([note] if dropped else []))


class _Statistics:
    """Every statistic of a table, computed once."""

    def __init__(self, table: Runs, target: str, settings: RankingSettings) -> None:
        self.table, self.target, self.settings = table, target, settings
        self.design = Configurations.of(table.axes)
        self.net_values, self.net_target = table.oriented, table.target(target)
        self.values, self.means = self.design.mean(self.net_values), self.design.mean(self.net_target[None])[0]
        few = np.isfinite(self.values).sum(axis=1) < FEWEST
        self.values[few], self.net_values[few] = np.nan, np.nan
        self.weights = resample_weights(self.design.count, settings.bootstrap, settings.seed)
        self.shuffled = self.means[permutations(self.design.count, settings.permutations, settings.seed)]
        self.once = np.ones((1, self.design.count))
        self.granulated = granulated(self.values, self.means, self.weights, self.design)
        self.null = granulated(self.values, self.shuffled, self.once, self.design)
        self.errors = self._sign_errors()
        self.cmi, self.cmi_null = self._information()

    def samples(self) -> np.ndarray:
        """Return every statistic, shape (S, B + 1, M), the table itself first."""
        controls = self._partial()
        taus = kendall_tau(self.values, self.means, self.weights, self.design.pairs)
        nets = kendall_tau_of_nets(self.net_values, self.net_target, self.design.group, self.weights)
        by_name = {
            "Psi": self.granulated.overall,
            "tau": taus,
            "tau-nets": nets,
            "spearman": spearman(self.values, self.means, self.weights),
            "cmi": self.cmi,
            "partial": controls,
            "sign-error": self.errors.mean(self.weights),
            "sign-error-90": self.errors.tail(self.weights),
        }
        return np.stack([by_name[name] for name in STATISTICS])

    def _sign_errors(self) -> SignErrors:
        size = self.table.test_size if self.target in PROPORTIONS else None
        return sign_errors(
            self.net_values, self.net_target, self.design, test_size=size, fewest=self.settings.effective_size
        )

    def _partial(self) -> np.ndarray:
        result = np.full((len(self.weights), len(self.table.measures)), np.nan)
        groups: dict[tuple[str, ...], list[int]] = {}
        for place, name in enumerate(self.table.measures):
            groups.setdefault(tuple(controls_of(self.table, name)), []).append(place)
        for names, places in groups.items():
            controls = self.design.mean(self.table.values[[self.table.measures.index(name) for name in names]])
            result[:, places] = partial_correlation(
                self.values[places], self.means, self.weights, self.design, controls
            )
        return result

    def _information(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the signed information above chance, shape (B + 1, M), and its level by chance, shape (M,).

        Chance is measured in the table itself and in the resamples, where configurations that are drawn twice leave
        fewer pairs. Two measures with the same ties share it.
        """
        pairs = PairTable.of(self.design)
        orders = permutations(self.design.count, INFORMATION_PERMUTATIONS, self.settings.seed)
        result = conditional_information(self.values, self.means, self.weights, self.design, pairs)
        patterns = [tie_pattern(row) for row in self.values]
        chance = {}
        for row, pattern in zip(self.values, patterns, strict=True):
            if pattern not in chance:
                chance[pattern] = self._chance(row[orders], pairs)
        once, resampled = np.array([chance[pattern] for pattern in patterns]).T
        level = np.concatenate([once[None], np.repeat(resampled[None], len(self.weights) - 1, axis=0)])
        return result.sign * np.maximum(result.smallest - level, 0.0), once

    def _chance(self, shuffled: np.ndarray, pairs: PairTable) -> tuple[float, float]:
        """Return the mean information of a measure in random orders, shape (orders, C): in the table, in resamples."""
        chosen = self.weights[: 1 + CHANCE_RESAMPLES]
        smallest = conditional_information(shuffled, self.means, chosen, self.design, pairs).smallest
        resampled = float(mean_of_defined(smallest[1:].reshape(-1), 0)) if len(chosen) > 1 else float("nan")
        return float(mean_of_defined(smallest[0], 0)), resampled

    def ranking(self, config: dict[str, object], started: float) -> Ranking:
        """Return the result."""
        table, samples = self.table, self.samples()
        lower, upper = interval(samples[:, 1:], axis=1)
        psi_lower, psi_upper = interval(self.granulated.psi[1:])
        null_lower, null_upper = np.full(lower.shape, np.nan), np.full(upper.shape, np.nan)
        null_lower[0], null_upper[0] = interval(self.null.overall)
        null_lower[1], null_upper[1] = interval(kendall_tau(self.values, self.shuffled, self.once, self.design.pairs))
        margin, margin_lower, hardest, best_by_chance = self._against_baselines()
        differences, differences_lower, differences_upper = paired_differences(self.granulated.psi)
        return Ranking(
            target=self.target, measures=table.measures, baselines=table.baselines, statistics=tuple(STATISTICS),
            estimates=samples[:, 0], lower=lower, upper=upper, null_lower=null_lower, null_upper=null_upper,
            axes=self.design.axes, psi=self.granulated.psi[0], psi_lower=psi_lower, psi_upper=psi_upper,
            cells=self.granulated.cells, cells_defined=self.granulated.defined,
            sign_errors=self.errors.errors, sign_error_axis=self.errors.axis,
            sign_error_largest=self.errors.largest(), cmi_null=self.cmi_null,
            noise=noise_share(table.values, table.standard_errors),
            passes=mean_of_defined(table.passes, 1), seconds=mean_of_defined(table.seconds, 1),
            margin=margin, margin_lower=margin_lower, hardest=hardest, chance_of_best=best_by_chance,
            differences=differences, differences_lower=differences_lower, differences_upper=differences_upper,
            nets=len(table.nets), configurations=self.design.count,
            gaps=self._gaps(), invariances=table.invariances, closed_forms=table.closed_forms,
            notes=(*table.notes, *self._notes()), config=dict(config),
            cost=Cost(0.0, 0, time.monotonic() - started),
        )  # fmt: skip

    def _against_baselines(self) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], float]:
        """Return margin, its lower bound and the hardest baseline, shapes (M,), and the best Psi by chance.

        Measures without Psi are left out. The random baseline stands for a coin, whose Psi is 0: a lucky draw of it
        must not count against a measure.
        """
        table, psi = self.table, self.granulated.psi.copy()
        baseline = np.isin(table.measures, table.baselines)
        psi[:, :, np.array(table.measures) == RANDOM] = 0.0
        own = np.flatnonzero(~baseline & np.isfinite(psi[0]).any(axis=0))
        others = np.flatnonzero(baseline)
        margin, lower = np.full(len(baseline), np.nan), np.full(len(baseline), np.nan)
        hardest = [""] * len(baseline)
        if len(own):
            against = against_baselines(psi, own, others)
            margin[own], lower[own] = against.margin, against.lower
            for place, number in zip(own, against.hardest, strict=True):
                hardest[place] = table.measures[others[number]]
        return margin, lower, tuple(hardest), chance_of_best(self.null.psi, own)

    def _gaps(self) -> dict[str, str]:
        """Return what is missing, by measure."""
        gaps = {}
        for place, name in enumerate(self.table.measures):
            values = self.table.values[place]
            missing = int((~np.isfinite(values)).sum())
            known = int(np.isfinite(self.design.mean(values[None])[0]).sum())
            why = f" Reason: {self.table.reasons[name]}" if name in self.table.reasons else ""
            if known < FEWEST:
                gaps[name] = f"not ranked: it has values on {known} configurations, and {FEWEST} are needed.{why}"
            elif len(set(values[np.isfinite(values)].tolist())) == 1:
                gaps[name] = "not ranked: it is the same for every net."
            elif missing:
                gaps[name] = f"no value on {missing} of {len(values)} nets; its statistics use the others.{why}"
        return gaps

    def _notes(self) -> list[str]:
        notes = []
        if self.settings.bootstrap < STEADY_RESAMPLES:
            notes.append(f"The intervals rest on {self.settings.bootstrap} resamples only. Pass `bootstrap=2000`.")
        kept, size = len(self.errors.errors), self.settings.effective_size
        if not kept:
            notes.append(
                f"No sign error: none of {self.errors.candidates} pairs of configurations that differ in one axis has "
                f"an effective number of {size:g} pairs of nets. Train more seeds, or lower `effective_size=...`."
            )
        elif kept < self.errors.candidates:
            notes.append(
                f"The sign error uses {kept} of {self.errors.candidates} pairs of configurations; the others have "
                f"fewer than {size:g} effective pairs of nets."
            )
        if self.target in PROPORTIONS and self.table.test_size is None:
            notes.append("The number of test samples is unknown, so the sign error weighs every pair of nets alike.")
        return notes


def tie_pattern(row: np.ndarray) -> tuple[int, ...]:
    """Return how many values coincide: the number of gaps, then the sizes of the groups of equal values.

    >>> tie_pattern(np.array([3.0, 1.0, 3.0, np.nan]))
    (1, 1, 2)
    """
    known = row[np.isfinite(row)]
    _, counts = np.unique(known, return_counts=True)
    return (len(row) - len(known), *sorted(counts.tolist()))


def noise_share(values: np.ndarray, standard_errors: np.ndarray) -> np.ndarray:
    """Return which share of the variance between nets is estimator noise: mean of se² / variance of values, at most 1.

    Args:
        values, standard_errors: shape (M, N); NaN is a gap.

    Returns:
        Shape (M,); NaN if the standard errors are unknown or the measure is constant.

    >>> noise_share(np.array([[1.0, 2.0, 3.0]]), np.full((1, 3), 0.5)).tolist()
    [0.25]
    """
    shares = np.full(len(values), np.nan)
    for row, (value, error) in enumerate(zip(values, standard_errors, strict=True)):
        both = np.isfinite(value) & np.isfinite(error)
        if both.sum() > 1 and np.ptp(value[both]) > 0:
            shares[row] = min(1.0, float((error[both] ** 2).mean() / value[both].var(ddof=1)))
    return shares
