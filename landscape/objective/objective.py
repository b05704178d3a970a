"""The loss as a function of the flat parameter vector, at many points together and stopped early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape import distributed
from landscape.errors import ObjectiveError, check_count
from landscape.objective.batch_loss import CENTRE, ModelProgram, Program, evaluating
from landscape.objective.batches import moved_to, split_batches
from landscape.objective.centre import check_centre
from landscape.objective.checks import try_first_batch
from landscape.objective.counting import Count
from landscape.objective.evaluate import Evaluation, joined, run_pass
from landscape.objective.first_pass import Sizes
from landscape.objective.from_checkpoint import FromCheckpoint
from landscape.objective.function_program import FunctionProgram, checked_vector
from landscape.objective.held_elsewhere import refuse_held_elsewhere
from landscape.objective.large import first_point, look_at_reading, origin_of
from landscape.objective.losses.accuracy import accuracy_counts
from landscape.objective.losses.kl import kl_from, reading_for_kl
from landscape.objective.losses.make import check_targets, make_loss
from landscape.objective.model import dtype_of, mixes_samples, return_freed_memory
from landscape.objective.moved_weights import AnyPoint, Point, PointList, StepList
from landscape.objective.notes import batch_notes, kept_whole, left_out, named, scope_notes
from landscape.objective.parameters import Layout, Scope
from landscape.objective.point_batches import bytes_of, chosen_steps, plan_points, sample_limit
from landscape.objective.reading import read_data
from landscape.objective.recognition.recognise import recognised
from landscape.objective.shards.whole import Held
from landscape.objective.shared_pass import Points, evaluate_points
from landscape.objective.theta_hash import hash_of

CRITERIA = ("loss", "rise", "kl")


class Objective(FromCheckpoint):
    """The loss of a model on data, as a function of its parameters.

    f(theta) = sum of the terms of all samples / number of terms, accumulated in float64. The data are read once and
    kept. The model runs in evaluation mode unless ``training``. The caller's model and data stay unchanged.

    Args:
        model: any torch module holding trained parameters.
        data: a pair of tensors, a dict of tensors, a Dataset or an iterable of batches
            (see :func:`landscape.objective.reading.read_data`).
        loss: a name (``cross_entropy``, ``binary_cross_entropy``, ``mse``, ``model``), or a callable of
            (output, target).
        forward: (model, batch) -> output, for batches that model(inputs) cannot take.
        output: what the predictions are: ``logits``, ``probabilities`` or ``log-probabilities``; by default what the
            loss says. Accuracy and the criterion ``kl`` need it.
        scope: ``weights``, ``all``, a regular expression on parameter names, or a list of these.
        batch_size: samples per forward pass; by default what fits the cache. If samples of a batch affect each other,
            the default is the batches of the data. That is so with ``training``, with BatchNorm without running
            statistics, and with a function of your own as the loss. It is also so if the model gives other outputs for
            a batch than for its halves.
        max_samples: use at most this many samples.
        count_samples: batch -> number of samples; by default the number of targets, or the length of a list.
        device: where to compute, a CPU or CUDA device; by default where the model is.
        dtype: compute in this dtype, such as ``torch.float64`` or ``"float64"``; by default the model's own.
        memory: bytes that points evaluated together may take.
        lanes: largest number of points evaluated together; fewer make more chunks to share between ranks.
        training: evaluate in training mode (BatchNorm uses batch statistics).
        compile: run points that are evaluated together through ``torch.compile``.
        flat: whether points are flat vectors (True), or each weight is moved where it is used and freed after (False);
            by default the second for models of more than 2^25 parameters
            (:mod:`landscape.objective.moved_weights`).

    Attributes:
        theta: the trained parameters, shape (D,).
        layout: where each tensor lies in ``theta``.
        scope: which entries move; ``dimension`` is their number n.
        centre: the loss at ``theta``; ``at_theta`` has what else is known there.
        samples: number of samples.
        plan: how many points are evaluated together, and why.
        data_hash: SHA-256 of the data.
        notes: what a user should know.

    Raises:
        ObjectiveError: for parameters without values or with NaN, an empty scope, a loss that differs between two
            evaluations, or a loss that fails. Every measurement raises the last too.
        TaskError: if model, data and loss do not fit together.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> Objective(model, (torch.eye(2), torch.zeros(2)), "mse").centre
    1.0
    """

    @torch.inference_mode(False)  # the tensors made here must also work outside the caller's inference mode
    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss: str | Callable[..., Any] = "cross_entropy",
        *,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        output: str | None = None,
        scope: str | Sequence[str] = "weights",
        batch_size: int | None = None,
        max_samples: int | None = None,
        count_samples: Count | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        memory: int | None = None,
        lanes: int | None = None,
        training: bool = False,
        compile: bool = False,
        flat: bool | None = None,
    ) -> None:
        _check_counts(batch_size=batch_size, max_samples=max_samples, lanes=lanes, memory=memory)
        dtype = dtype_of(dtype)
        held = Held.of(model, device, dtype)
        model, layout, place = held.model, held.layout, held.place
        loss_terms = make_loss(loss, output=output)
        selected = held.select(scope, batch_size=batch_size, max_samples=max_samples, memory=memory, training=training)
        given = read_data(data, max_samples=max_samples, count=count_samples)
        # targets in 16 bits would lose digits, and the named losses compute in 32 bits at least
        wide = None if dtype is None else torch.promote_types(dtype, torch.float32)
        here = partial(moved_to, device=place, dtypes=layout.kernel_dtypes, target_dtype=wide)
        first = given.first(here)
        options: dict[str, Any] = {"forward": forward, "training": training, "compile": compile}
        program = held.program(model, (first,), loss_terms, layout, **options)
        theta = origin_of(program, flat, held.tensors, place)
        mixing = training or not loss_terms.per_sample or mixes_samples(model)
        alone = given.alone(here, batch_size if mixing else None)
        trial = try_first_batch(program, first_point(program, theta), first, alone, mixing=mixing)
        own, repeated = look_at_reading(program, theta, trial.batch, trial.output)
        given = kept_whole(given, trial, batch_size)
        read = (given if trial.mixing and batch_size is None else given.joined()).batches(here)
        batches = read.batches
        cut = len(batches) > 1 or (batch_size or read.samples) < read.samples
        program = program.with_batches((trial.batch,))
        loss_terms, said = recognised(loss_terms, loss, output, program, theta, trial.output, batches, cut=cut, own=own)
        check_targets(loss_terms, trial.output, trial.batch, batches)
        sample_bytes = trial.sizes.activation // trial.batch.samples
        if batch_size is not None or not trial.mixing:
            batches = split_batches(
                batches, batch_size or sample_limit(sample_bytes, read.samples, place, bytes_of(theta, program))
            )
        self.notes = [*read.notes, *batch_notes(trial, batches, batch_size), *said, *scope_notes(selected, model)]
        program = program.with_losses((loss_terms,)).with_batches(batches)
        self._set_up(program, theta, layout, selected, output=trial.output_on(batches), repeated=repeated)
        refuse_held_elsewhere(program.with_batches((trial.batch,)), theta, forward, loss)
        self.samples, self.data_hash = read.samples, held.same_on_all("data", read.digest)
        self.loss_name = loss_terms.name
        self._mixing, self._output = trial.mixing, output
        self.plan = plan_points(program, theta, trial.sizes_on(batches), memory, lanes)
        self.notes += self.plan.notes
        if self.large:  # what the checks have freed serves the measurements
            return_freed_memory()

    @classmethod
    @torch.inference_mode(False)
    def from_function(
        cls,
        function: Callable[[Tensor], Tensor],
        theta: Tensor,
        *,
        layout: Layout | None = None,
        scope: str | Sequence[str] = "weights",
        memory: int | None = None,
        lanes: int | None = None,
    ) -> Objective:
        """Return the objective of any torch function of a flat vector.

        Args:
            function: maps points of shape (..., D) to values of shape (...).
            theta: the centre, shape (D,); its dtype and device are used throughout.
            layout: how theta splits into named tensors; by default a single tensor of one dimension.
            scope: as for a model.
            memory, lanes: as for a model.

        >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
        >>> bowl.centre, bowl.dimension
        (0.0, 3)
        """
        _check_counts(lanes=lanes)
        theta, layout = checked_vector(theta, layout)
        self = object.__new__(cls)
        self.notes = []
        self._mixing = False
        self._output = None
        program = FunctionProgram(function)
        self._set_up(program, theta, layout, Scope.select(scope, layout))
        self.samples = 1
        self.data_hash = ""
        self.loss_name = getattr(function, "__name__", type(function).__name__)
        self.plan = plan_points(program, theta, Sizes(), memory, lanes)
        return self

    def _set_up(self, program: Program, theta: AnyPoint, layout: Layout, scope: Scope, **known: Any) -> None:
        """Set the attributes that every objective has, and check the centre by what is ``known`` of it."""
        self._program = program
        self._kl: Program | None = None
        self.trained = theta
        self._flat = theta if isinstance(theta, Tensor) else None
        self.layout = layout
        self.scope = scope
        self._hash = hash_of(program, theta) if isinstance(theta, Tensor) else ""
        if sum(program.counts) == 0:
            raise ObjectiveError("every target is left out (-100), so the loss has no term. Check the targets.")
        self.at_theta = check_centre(program, theta, self.device, **known)
        self.centre = self.at_theta.loss
        self.notes += self.at_theta.notes

    def __repr__(self) -> str:
        fixed = left_out(self.scope)
        rest = f"; fixed: {named(fixed)}" if fixed else ""
        return (
            f"<Objective: {self.loss_name} of {self.samples:,} samples, {self.centre:.6g} at the trained point, "
            f"n = {self.dimension:,} of {self.layout.size:,} parameters in scope {self.scope.name!r}{rest}>"
        )

    @property
    def theta_hash(self) -> str:
        """SHA-256 of the parameters and buffers; that of a large model is made when it is first asked for."""
        self._hash = self._hash or hash_of(self._program, self.trained)
        return self._hash

    @property
    def theta(self) -> Tensor:
        """The trained parameters as one flat vector, shape (D,); of a large model it is made when it is asked for."""
        if self._flat is None:
            assert isinstance(self._program, ModelProgram)
            held = {entry.name: own for own, entry in self._program.pairs}
            self._flat = self.layout.flatten(held, self.device)
        return self._flat

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of theta: float32 even for a model in 16 bits."""
        return self.layout.dtype if self._flat is None else self._flat.dtype

    @property
    def device(self) -> torch.device:
        """Where points and losses are computed."""
        if self._flat is not None:
            return self._flat.device
        assert isinstance(self._program, ModelProgram)
        return self._program.pairs[0][0].device

    @property
    def large(self) -> bool:
        """Whether the weights of a point are made where they are used, and no vector holds it."""
        return isinstance(self.trained, Point)

    @property
    def dimension(self) -> int:
        """n, the number of entries in scope."""
        return self.scope.size

    @property
    def program(self) -> Program:
        """The program that computes the loss of each batch, for measurements that need more than its value."""
        return self._program

    @property
    def batches(self) -> int:
        """Number of batches in a pass over the data."""
        return len(self._program.counts)

    def loss_at(self, points: Tensor) -> np.ndarray:
        """Return the loss at each point: (k, D) -> (k,) float64."""
        if points.dim() != 2 or points.shape[1] != self.layout.held:
            raise ObjectiveError(
                f"points must have shape (k, {self.layout.held}), not {tuple(points.shape)}. For one point pass "
                "point[None]."
            )
        with self.running():
            return np.concatenate([run_pass(self._program, chunk).values for chunk in points.split(self.plan.lanes)])

    def along(
        self,
        steps: Tensor | StepList,
        radii: np.ndarray,
        *,
        rows: np.ndarray | None = None,
        ceiling: np.ndarray | None = None,
        criterion: str = "loss",
    ) -> Evaluation:
        """Evaluate the criterion at theta + radii · steps. Call it inside :meth:`running`.

        The ranks share the points, in chunks of ``plan.lanes``, and the batches of points that run one at a time
        (:mod:`landscape.objective.shared_pass`).

        Args:
            steps: one step per point, shape (k, D), or the steps that ``rows`` chooses from; of a large model a list.
            radii: how far to go along each, shape (k,).
            rows: which of the steps each point takes, shape (k,); they are looked up for few points at a time.
            ceiling: stop a pass as soon as the criterion provably reaches this value, shape (k,). This needs a loss
                whose terms are at least zero, so that a sum above the ceiling proves it; otherwise it has no effect.
            criterion: ``loss``, ``rise`` (above the centre) or ``kl`` (mean KL divergence from the predictions
                at theta).
        """
        shift = self.centre if criterion == "rise" else 0.0
        program = self.program_of(criterion)

        def at(part: slice) -> Tensor | PointList:
            if isinstance(steps, StepList):
                return steps.on_rays(np.arange(len(steps))[part] if rows is None else rows[part], radii[part])
            scale = torch.as_tensor(radii[part], dtype=self.dtype, device=self.device)
            return torch.addcmul(self.theta, chosen_steps(steps, part, rows), scale[:, None])

        limit = None if ceiling is None else ceiling + shift
        points = Points(len(radii), at, limit, lambda: radii.tobytes() + distributed.sample(steps))
        found = joined(evaluate_points(program, points, self.plan.lanes))
        return Evaluation(found.values - shift, found.complete, found.read)

    def centre_of(self, criterion: str) -> float:
        """Return the criterion at theta: the loss, or 0."""
        self.program_of(criterion)
        return self.centre if criterion == "loss" else 0.0

    def program_of(self, criterion: str) -> Program:
        """Return the program that computes a criterion, up to a constant; ``kl`` keeps the predictions at theta."""
        if criterion not in CRITERIA:
            raise ObjectiveError(f"the criterion {criterion!r} is not known. Pass one of {', '.join(CRITERIA)}.")
        return self._kl_program() if criterion == "kl" else self._program

    def accuracy(self) -> float | None:
        """Return the share of right predictions at theta; None if the loss does not tell what is right.

        The loss must say what the predictions are (or ``output``), and the targets must be classes, or 0 and 1.
        """
        if not isinstance(self._program, ModelProgram):
            return None
        counts = self.at_theta.right
        if counts is None:
            with self.running():
                loss, batches = self._program.losses[0], self._program.batches
                counts = tuple(accuracy_counts(loss, self._centre_output(i), b) for i, b in enumerate(batches))
        known = sum(each.known for each in counts)
        return sum(each.right for each in counts) / known if known else None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the model into the mode in which it is measured, and restore it at the end."""
        with self._program.running():
            yield

    def describe(self) -> dict[str, Any]:
        """Return what determines this function: the hashes, sizes and settings that a stored run must share.

        ``batch_sizes`` is None if the loss of a sample does not depend on the other samples of its batch.
        """
        program = self._program
        mixed = program.batches if self._mixing and isinstance(program, ModelProgram) else ()
        return {
            "loss": self.loss_name,
            "scope": self.scope.name,
            "samples": self.samples,
            "dtype": str(self.dtype).removeprefix("torch."),
            "training": bool(getattr(program, "training", False)),
            "output": self._output,
            "forward": getattr(program, "forward", None) is not None,
            "batch_sizes": [batch.samples for batch in mixed] or None,
            "theta_hash": self.theta_hash,
            "data_hash": self.data_hash,
        }

    def with_program(self, program: Program) -> Objective:
        """Return the same objective with another program on the same data, such as one with other losses."""
        other = copy(self)
        other._program, other._kl, other.notes = program, None, list(self.notes)
        other.at_theta = check_centre(program, self.trained, self.device)
        other.centre = other.at_theta.loss
        return other

    def _centre_output(self, batch: int) -> Any:
        """Return the model's output on one batch at theta."""
        assert isinstance(self._program, ModelProgram)
        with evaluating(self._program, batch, CENTRE):
            return self._program.output(self.trained, batch)

    def _kl_program(self) -> Program:
        if self._kl is None:
            if not isinstance(self._program, ModelProgram):
                raise ObjectiveError("the criterion 'kl' compares predictions, and a plain function has none.")
            reading = reading_for_kl(self._program.losses[0])
            with self.running():
                losses = tuple(
                    kl_from(self._centre_output(i), batch, reading) for i, batch in enumerate(self._program.batches)
                )
            self._kl = self._program.with_losses(losses)
        return self._kl


def _check_counts(**given: int | None) -> None:
    for name, value in given.items():
        if value is not None:
            check_count(name, value, error=ObjectiveError)
