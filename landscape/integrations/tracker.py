"""Measure a net that is in training, log the numbers and keep them, and leave the training as it is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError, StoreError, check_count, type_and_line
from landscape.integrations.held_data import apart
from landscape.integrations.quantities import Quantities
from landscape.objective import Objective
from landscape.objective.live import with_present_weights
from landscape.objective.reading import untouched_rng
from landscape.results import Snapshot, require_same_config
from landscape.results.sharpness import BELOW_ROUNDING, FAILED, LOWER_BOUND, NOT_MIXED
from landscape.results.snapshot import TRAINING, without_numbers
from landscape.store import Store

LOGGER = logging.getLogger("landscape")
PREFIX = "landscape/"
_SAID_IN_NAME = (LOWER_BOUND, BELOW_ROUNDING, NOT_MIXED)  # verdicts of numbers that are not the quantity itself

Log = Callable[[dict[str, float], int], object]  #: called with the numbers by name, and the step


@dataclass(frozen=True)
class Held:
    """How the loss of the held data is made: see :class:`landscape.Objective`.

    Attributes:
        loss, forward, output, scope, batch_size, max_samples, count_samples, memory: as there.
        start: the parameters at the start of training as one vector, shape (D,), for ``distance``; by default those
            that the model has when it is first seen.
    """

    loss: str | Callable[..., Any] = "cross_entropy"
    forward: Callable[[nn.Module, Any], Any] | None = None
    output: str | None = None
    scope: str | Sequence[str] = "weights"
    batch_size: int | None = None
    max_samples: int | None = None
    count_samples: Callable[[Any], int] | None = None
    memory: int | None = None
    start: Tensor | None = None


class Options(TypedDict, total=False):
    """The options of every callback: the fields of :class:`Held` and of :class:`Quantities`."""

    loss: str | Callable[..., Any]
    forward: Callable[[nn.Module, Any], Any] | None
    output: str | None
    scope: str | Sequence[str]
    batch_size: int | None
    max_samples: int | None
    count_samples: Callable[[Any], int] | None
    memory: int | None
    start: Tensor | None
    measures: str | Sequence[str]
    cutoff: float | Sequence[float]
    criterion: str
    directions: int
    metric: str
    rho: float | None
    draws: int
    probes: int
    volume_budget: str | float
    seed: int
    budget: str | float


def split_options(options: Mapping[str, Any]) -> tuple[Held, Quantities]:
    """Return the options in the two classes that check them.

    Raises:
        LandscapeError: for an unknown one.
    """
    parts = [{field.name for field in fields(kind)} for kind in (Held, Quantities)]
    unknown = [name for name in options if name not in parts[0] | parts[1]]
    if unknown:
        raise LandscapeError(
            f"`{unknown[0]}=...` is no option of a callback. Pass some of {', '.join(sorted(parts[0] | parts[1]))}."
        )
    held, wanted = ({name: value for name, value in options.items() if name in part} for part in parts)
    return Held(**held), Quantities(**wanted)


class Recorder:
    """Measures a live model when asked, and keeps what it measured.

    Args:
        data: the held data: a pair of tensors, a Dataset, a DataLoader or any iterable of batches. Read once.
        out: an HDF5 file that gets one group per step; None for none.
        resume: add to what the file holds.
        overwrite: drop the snapshots that the file holds.
        strict: raise if something cannot be measured or written, instead of going on with a note.
        options: the fields of :class:`Held` and :class:`Quantities`.

    Raises:
        LandscapeError: for options that make no sense, and a file that holds snapshots already.
    """

    def __init__(
        self,
        data: Any,
        *,
        out: str | Path | None,
        resume: bool,
        overwrite: bool,
        strict: bool,
        options: Mapping[str, Any],
    ) -> None:
        self.held, self.quantities = split_options(options)
        self.data, self.strict, self.out = data, strict, out
        self._resume, self._overwrite = resume, overwrite
        self._objective: Objective | None = None
        self._store: Store | None = None
        self._start: Tensor | None = None
        self._said: set[tuple[str, str]] = set()
        if resume and overwrite:
            raise StoreError("`resume` keeps what the file holds and `overwrite` drops it. Pass one of the two.")
        if out is not None and Path(out).exists():
            self._check_file(Store(out))

    def begin(self, model: nn.Module, *, measuring: bool = True) -> None:
        """Lock the file and read the held data, so that what is wrong shows before training begins.

        Args:
            model: the model in training.
            measuring: whether this process is the one that measures. The others only refuse what it refuses of a model.

        Raises:
            LandscapeError: if the file cannot be written, or model, data and loss do not fit together.
        """
        if self._objective is not None:
            return
        model = unwrapped(model)
        refuse_shards(model)
        if not measuring:
            return
        self._open()
        with leaving_training_alone(), without_mixed_precision(model):
            objective = self._objective_of(model)
        self._start = objective.theta if self.held.start is None else self.held.start

    def _open(self) -> None:
        if self.out is None or self._store is not None:
            return
        self._store = Store(self.out, write=True)
        if self._overwrite:
            for name in _snapshots_in(self._store):
                del self._store[name]
        self._overwrite = False

    def close(self) -> None:
        """Let other writers into the file."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def measure(self, model: nn.Module, step: int, epoch: float = math.nan) -> Snapshot | None:
        """Return the numbers of the model as it is now, and keep them; None if nothing could be measured.

        Raises:
            LandscapeError: with ``strict``, if a number could not be measured or the file could not be written. Without
                it only as :meth:`begin` does, at the first call.
        """
        started = time.perf_counter()
        self.begin(model)
        model = unwrapped(model)
        snapshot: Snapshot | None = None
        try:
            with leaving_training_alone(), without_mixed_precision(model):
                objective = self._objective_of(model)
                origin = {"step_from": TRAINING}
                snapshot = self.quantities.measure(
                    objective, step=step, epoch=epoch, origin=origin, started=started, start=self._start
                )
            self._keep(snapshot)
        except Exception as error:
            if self.strict:
                raise
            self._note(f"step {step}", type_and_line(error))
            return snapshot
        gaps: dict[str, list[str]] = {}
        for name, measure in snapshot.measures.items():
            if measure.verdict == FAILED:
                gaps.setdefault("; ".join(measure.reasons), []).append(name)
        for reason, names in gaps.items():
            if self.strict:
                raise LandscapeError(f"{', '.join(names)} cannot be measured at step {step}: {reason}")
            self._note(", ".join(names), reason, step)
        return snapshot

    def tried(self, call: Callable[[], object]) -> None:
        """Call a logger; if it fails, training goes on with a note.

        Raises:
            Exception: what the logger raises, with ``strict``.
        """
        try:
            with leaving_training_alone():
                call()
        except Exception as error:
            if self.strict:
                raise
            self._note("the logger", type_and_line(error))

    def _objective_of(self, model: nn.Module) -> Objective:
        """Return the loss around the weights that the model has now; the data are read once."""
        now = None if self._objective is None else with_present_weights(self._objective, model)
        if now is None:
            held = self.held
            now = Objective(
                model, apart(self.data), held.loss, forward=held.forward, output=held.output, scope=held.scope,
                batch_size=held.batch_size, max_samples=held.max_samples, count_samples=held.count_samples,
                memory=held.memory,
            )  # fmt: skip
            for note in now.notes:
                self._note("the held data", note)
        self._objective = now
        return now

    def _keep(self, snapshot: Snapshot) -> None:
        self._open()
        if self._store is not None:
            self._store[snapshot_name(snapshot.step)] = snapshot

    def _check_file(self, store: Store) -> None:
        names = _snapshots_in(store)
        if not names or self._overwrite:
            return
        if not self._resume:
            raise StoreError(
                f"{self.out} already holds {len(names)} snapshots of a training run, the last one {names[-1]}.\n"
                "Pass `resume=True` to add to them, `overwrite=True` to start over, or another `out=...`."
            )
        stored = store.describe()["results"][names[-1]]["config"]
        require_same_config(stored, {k: v for k, v in self.quantities.settings().items() if k != "budget"}, "snapshot")

    def _note(self, name: str, reason: str, step: int | None = None) -> None:
        """Say once why there is no number."""
        kind = (name if step is not None else without_numbers(name), without_numbers(reason))
        if kind not in self._said:
            self._said.add(kind)
            LOGGER.warning("landscape: %s%s: %s", name, "" if step is None else f" at step {step}", reason)


def numbers(snapshot: Snapshot, prefix: str = PREFIX) -> dict[str, float]:
    """Return what a logger gets: each number by name, and its standard error if it has one. Gaps are left out.

    A number that is only a bound says so in its name: ``landscape/radius_lower_bound``.
    """
    found: dict[str, float] = {}
    for name, measure in snapshot.measures.items():
        if measure.verdict == FAILED or not math.isfinite(measure.value):
            continue
        plain = prefix + name.replace("@", "_")
        said = f"_{measure.verdict.replace(' ', '_')}" if measure.verdict in _SAID_IN_NAME else ""
        found[plain + said] = measure.value
        if measure.standard_error > 0 and math.isfinite(measure.standard_error):
            found[f"{plain}_standard_error"] = measure.standard_error
    return found


def snapshot_name(step: int) -> str:
    """Return the name of a step in the file: names in order are steps in order.

    >>> snapshot_name(1200)
    'step-00001200'
    """
    return f"step-{step:08d}"


def is_due(step: int, every: int | None) -> bool:
    """Whether a measurement is due after so many steps or epochs.

    >>> is_due(200, 100), is_due(250, 100), is_due(200, None), is_due(0, 100)
    (True, False, False, False)
    """
    return every is not None and step > 0 and step % every == 0


def check_every(**every: int | None) -> None:
    """Refuse periods that are no whole numbers above 0, and none at all."""
    for name, value in every.items():
        if value is not None:
            check_count(name, value)
    if all(value is None for value in every.values()):
        raise LandscapeError(f"nothing says when to measure. Pass {' or '.join(f'`{name}=...`' for name in every)}.")


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside DistributedDataParallel, DataParallel and torch.compile."""
    if not isinstance(model, nn.Module):
        raise LandscapeError(f"the model must be a torch module, not {type(model).__name__}.")
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def refuse_shards(model: nn.Module) -> None:
    """Refuse a model whose parameters lie on several processes: one process alone cannot run it."""
    sharded = type(model).__name__ == "FullyShardedDataParallel" or any(
        type(parameter).__name__ in ("DTensor", "FlatParameter") or hasattr(parameter, "ds_id")
        for parameter in model.parameters()
    )
    if sharded:
        raise LandscapeError(
            "the parameters lie on several processes (FSDP, DTensor or ZeRO 3), and training is measured on one.\n"
            "Save whole checkpoints, and measure them: landscape track CHECKPOINT..."
        )


def is_first_process() -> bool:
    """Whether this process is rank 0 of the training, or the only one."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


@contextmanager
def leaving_training_alone() -> Iterator[None]:
    """Restore at the end what a measurement could change for the training around it, and shut autocast off.

    The objective itself leaves weights, gradients, buffers and modes as they are.
    """
    kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with ExitStack() as stack:
        stack.enter_context(untouched_rng())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def without_mixed_precision(model: nn.Module) -> Iterator[None]:
    """Take away the autocast that accelerate puts around a forward function, and put it back at the end."""
    held = vars(model)
    if "_original_forward" not in held or "forward" not in held:
        yield
        return
    wrapped, held["forward"] = held["forward"], held["_original_forward"]
    try:
        yield
    finally:
        held["forward"] = wrapped


def _snapshots_in(store: Store) -> list[str]:
    if not store.path.exists():
        return []
    return [name for name, about in store.describe()["results"].items() if about["kind"] == Snapshot.kind]
