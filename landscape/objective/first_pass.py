"""The first pass of a model over data: how much memory it takes, and why it fails, if it does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from landscape.errors import LandscapeError, ObjectiveError, TaskError, code_place, keeps_running, type_and_line
from landscape.objective.batch_loss import CENTRE, ModelProgram, evaluating, out_of_memory
from landscape.objective.batches import Batch, copied
from landscape.objective.module_state import keeps_tensors, state_of
from landscape.objective.moved_weights import AnyPoint, Point
from landscape.objective.narrow_products import Copies, Noticing
from landscape.objective.read_weights import UncaughtError


@dataclass(frozen=True)
class Sizes:
    """What a pass over a batch takes in memory, in bytes.

    Attributes:
        activation: of the largest activation.
        copies: in float32, of what one operation in 16 bits reads and gives.
    """

    activation: int = 0
    copies: int = 0


def first_pass(program: ModelProgram, theta: AnyPoint, batch: Batch) -> tuple[Sizes, Any]:
    """Return what a pass of the model over this batch takes in memory, and the output.

    A model or loss that takes derivatives itself fails without gradients; then the program runs with them from now on.
    A large model that writes to its weights, or asks for their address, runs with weights in place from now on.

    Raises:
        TaskError: if the model fails, or writes to its inputs.
        ObjectiveError: if memory runs out, or if only our way to run the model fails.
    """
    inputs = [item for item in (*batch.inputs, *batch.named.values()) if isinstance(item, Tensor)]
    versions = [item._version for item in inputs]
    trial = program.with_batches((batch,))
    try:
        try:
            measured = _run(program, trial, theta)
        except UncaughtError:
            program.in_place = trial.in_place = True
            measured = _run(program, trial, Point())
        program.narrow, program.caches = trial.narrow, trial.caches
    except LandscapeError:
        raise
    except Exception as error:
        if out_of_memory(error):
            with evaluating(trial, 0, CENTRE):
                raise
        raise _failure(program, batch, error) from error
    if versions != [item._version for item in inputs]:
        raise TaskError(
            "the model writes to its inputs in place, so every pass over the data would see other inputs.\n"
            "Change that in the model, or pass forward=lambda model, batch: model(batch[0].clone())."
        )
    return measured


def _run(program: ModelProgram, trial: ModelProgram, theta: AnyPoint) -> tuple[Sizes, Any]:
    """Return what :func:`first_pass` returns. Model and loss run in the way that they need.

    That is with gradients if only that works, and with sums in float32 if either computes in 16 bits.
    """
    with ExitStack() as stack:
        noticing = None if trial.narrow or trial.compile else stack.enter_context(Noticing())
        measured = _with_loss(program, trial, theta)
    if noticing is None or not noticing.gains:
        return measured
    trial.narrow = True
    return _with_loss(program, trial, theta)  # whose sums are other ones, and take copies


def _with_loss(program: ModelProgram, trial: ModelProgram, theta: AnyPoint) -> tuple[Sizes, Any]:
    """Return the sizes of a pass of model and loss, and the model's output; with gradients if only that works."""
    try:
        sizes, output = _measure_activations(trial, theta)
    except LandscapeError:
        raise
    except Exception as error:
        if program.differentiates or "grad" not in str(error):
            raise
        trial.differentiates = True
        try:
            measured = _measure_activations(trial, theta)
        except Exception:
            raise error from None
        program.differentiates = True
        return measured
    needed, copies = _measure_loss(trial, output)
    program.differentiates = program.differentiates or needed
    return replace(sizes, copies=max(sizes.copies, copies)), output


def _measure_loss(trial: ModelProgram, output: Any) -> tuple[bool, int]:
    """Return whether the loss takes derivatives of the output, and the bytes of its copies in float32.

    All other errors of a loss are found later.
    """
    needed = False
    with Copies() as copies:
        try:
            with trial.running():
                trial.losses[0].total(output, trial.batches[0])
        except RuntimeError as error:
            needed = "does not require grad" in str(error)
        except Exception:
            needed = False
    return needed, copies.largest


def _measure_activations(program: ModelProgram, theta: AnyPoint) -> tuple[Sizes, Any]:
    """Return the sizes of a pass over the first batch, and the model's output.

    The largest activation is an input or the output of a module. The inputs count because a TorchScript or exported
    model shows none of its modules.
    """
    inputs = (*program.batches[0].inputs, *program.batches[0].named.values())
    largest = max((_bytes(item) for item in inputs if isinstance(item, Tensor)), default=0)

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, _bytes(output))

    handle = nn.modules.module.register_module_forward_hook(see)
    try:
        with program.running(), Copies() as copies:
            # a copy, since a model may write to its parameters in place
            state = [] if program.scripted else state_of(program.model)
            output = program.output(theta.clone() if isinstance(theta, Tensor) else theta, 0)
            program.caches = program.caches or keeps_tensors(state)
    finally:
        handle.remove()
    return Sizes(largest, copies.largest), output


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


_NAMES = (
    "\nUnder the loss 'model' it got the inputs, and then the targets. A model of transformers takes them by name: "
    "call the arrays of the data input_ids, attention_mask and labels. If the model returns predictions, pass another "
    "loss, such as `loss='cross_entropy'`."
)

_LISTS = "\nA list of numbers stays a list. For a model that takes tensors, pass torch.tensor(numbers)."

#: torch's words for it name neither the embedding nor the index
_OUT_OF_RANGE = (
    "\nAn index in the data is larger than the last row of an embedding. Were they made by the tokenizer of this model?"
)


def _failure(program: ModelProgram, batch: Batch, error: Exception) -> LandscapeError:
    """Return the error for a model that fails on the data."""
    if program.forward is None and _runs_itself(program, batch):
        return ObjectiveError(
            "the model runs on the data with its own parameters, and fails when they are replaced: "
            f"{type_and_line(error)}{code_place(error)}\nIt holds on to its parameters outside of its modules. Or this "
            "is a fault of landscape: please report it."
        )
    got = [_shape(item) for item in batch.inputs] + [f"{name}: {_shape(v)}" for name, v in batch.named.items()]
    own_loss, by_name = program.losses[0].name == "model", isinstance(batch.raw, Mapping)
    labelled = by_name and "labels" in batch.raw and not own_loss
    if own_loss and not by_name:
        got.append(_shape(batch.target))
    return TaskError(
        f"the model does not run on the data. Called with {', '.join(got)} it failed: "
        f"{type(error).__name__}: {error}{code_place(error)}\n"
        "Check the inputs' shape and dtype, or pass a forward function: forward=lambda model, batch: ..."
        + ("\nIf the model computes its loss from the labels itself, pass `loss='model'`." if labelled else "")
        + (_NAMES if own_loss and not by_name else "")
        + (_LISTS if any(isinstance(item, list) for item in (*batch.inputs, *batch.named.values())) else "")
        + (_OUT_OF_RANGE if isinstance(error, IndexError) and "out of range in self" in str(error) else "")
    )


def _runs_itself(program: ModelProgram, batch: Batch) -> bool:
    """Whether a copy of the model runs on the batch as torch would run it."""
    try:
        with program.running():
            model = keeps_running(deepcopy(program.model).__call__)
            data = copied(batch)
            if program.losses[0].name == "model" and not isinstance(data.raw, Mapping):
                model(*data.inputs, data.target)
            elif program.losses[0].name == "model":
                model(**data.raw)
            else:
                model(*data.inputs, **data.named)
    except Exception:
        return False
    return True


def _shape(item: Any) -> str:
    return (
        f"{str(item.dtype).removeprefix('torch.')} {tuple(item.shape)}"
        if isinstance(item, Tensor)
        else repr(type(item))
    )
