"""The predictions in a model's output: where they are, what they mean, and which target belongs to which of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import TaskError
from landscape.objective.losses.structure import tensors_of

OUTPUTS = ("logits", "probabilities", "log-probabilities")
IGNORED_CLASS = -100  #: targets of this class are left out, as in torch
SUM_TOLERANCE = 1e-3  #: rounding of probabilities that is no fault
_HALF_TOLERANCE = 2e-2  # the same for predictions that a model computes in 16 bits


@dataclass(frozen=True)
class Reading:
    """What a loss says about the predictions and the targets.

    Attributes:
        output: one of :data:`OUTPUTS`; "" if the loss does not say.
        kind: ``classes`` (one of C), ``binary`` (every entry is a yes or no of its own); "" if the loss does not say.
        ignored: targets of this class are left out.
        next_token: whether position i predicts entry i + 1 of the targets, as in causal language models.
        place: which of the output's tensors holds the predictions; None for the place that :func:`logits_of` knows.
    """

    output: str = ""
    kind: str = ""
    ignored: int = IGNORED_CLASS
    next_token: bool = False
    place: int | None = None

    def predictions(self, output: Any) -> Tensor:
        """Return the tensor of predictions in a model's output.

        Raises:
            TaskError: if the output holds none.
        """
        return logits_of(output) if self.place is None else tensors_of(output)[self.place]

    def aligned(self, target: Any) -> Any:
        """Return the targets with entry i for position i; the last position of a language model has none.

        >>> Reading(next_token=True).aligned(torch.tensor([[5, 6, 7]]))
        tensor([[   6,    7, -100]])
        """
        if not self.next_token or not isinstance(target, Tensor):
            return target
        return F.pad(target.long(), (0, 1), value=self.ignored)[..., 1:]

    def rows(self, predictions: Tensor, target: Any) -> Tensor:
        """Return the predictions with the class axis last; language models have it there, others where it fits."""
        return predictions if self.next_token else class_last(predictions, target)

    def left_out(self, rows: Tensor, target: Any) -> Tensor | None:
        """Return which rows, shape (..., C), have the ignored class as aligned target; None without class indices."""
        if not isinstance(target, Tensor) or target.is_floating_point() or target.shape != rows.shape[:-1]:
            return None
        return ~self.kept(target)

    def kept(self, target: Tensor) -> Tensor:
        """Return which class indices are not left out; in 64 bits, since -100 is another class in 8 bits."""
        return target.long() != self.ignored


UNKNOWN = Reading()  #: of a loss that says nothing


def logits_of(output: Any) -> Tensor:
    """Return the tensor of predictions in a model's output: itself, its ``.logits``, or the first of a tuple.

    Raises:
        TaskError: if the output holds no predictions.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise TaskError(
            f"the loss needs a tensor of predictions, and the model returned {type(output).__name__} without .logits.\n"
            "Pass a forward function that returns the predictions: Task(..., forward=lambda model, batch: ...)."
        )
    return logits


def wide(predictions: Tensor) -> Tensor:
    """Return half-precision predictions as float32: a loss in bfloat16 has only two digits."""
    return predictions.float() if predictions.dtype in (torch.float16, torch.bfloat16) else predictions


def class_last(logits: Tensor, target: Any) -> Tensor:
    """Return logits with the class axis last; torch puts it second, transformers puts it last.

    The shape of class indices tells which axis it is. Probabilities have the shape of the logits, and then it is the
    second axis, as in torch. Without a target it is taken to be the last.

    >>> class_last(torch.zeros(2, 10, 5), torch.zeros(2, 5)).shape
    torch.Size([2, 5, 10])
    """
    if not isinstance(target, Tensor) or logits.dim() <= 2:
        return logits
    probabilities = target.is_floating_point() and target.shape == logits.shape
    second = probabilities or logits.shape[:1] + logits.shape[2:] == target.shape
    return logits.movedim(1, -1) if second else logits


def as_logits(predictions: Tensor, output: str, *, binary: bool) -> Tensor:
    """Return predictions as numbers whose softmax or sigmoid is the probability.

    >>> as_logits(torch.tensor([0.5]), "probabilities", binary=True)
    tensor([0.])
    """
    if output in ("", "logits"):
        return predictions
    finfo = torch.finfo(predictions.dtype)
    if not binary:
        return predictions if output == "log-probabilities" else predictions.clamp_min(finfo.tiny).log()
    return torch.logit(as_probabilities(predictions, output), eps=finfo.eps)


def as_probabilities(predictions: Tensor, output: str) -> Tensor:
    """Return probabilities, or log-probabilities, as probabilities."""
    return predictions.exp() if output == "log-probabilities" else predictions


def sums_to_one(rows: Tensor, tolerance: float = SUM_TOLERANCE) -> bool:
    """Return whether every row, shape (..., C), is a distribution over its classes."""
    rows = rows.detach()
    return bool((rows >= 0).all()) and bool(((rows.sum(-1) - 1).abs() <= tolerance).all())


def check_output(predictions: Tensor, target: Any, reading: Reading) -> None:
    """Refuse predictions that are not what they are said to be.

    Raises:
        TaskError: for logits that sum to one, for probabilities that do not, or that lie outside [0, 1].
    """
    rows = reading.rows(wide(predictions.detach()), target)
    tolerance = _HALF_TOLERANCE if predictions.dtype in (torch.float16, torch.bfloat16) else SUM_TOLERANCE
    several = rows.dim() > 1 and rows.shape[-1] > 1
    classes = several and reading.kind != "binary"
    if reading.output == "logits":
        if classes and sums_to_one(rows):
            raise TaskError(
                "the output is said to be logits, but its rows are at least 0 and sum to 1: they are probabilities.\n"
                "Pass `output='probabilities'`, or a forward function that returns the logits."
            )
        return
    probabilities = as_probabilities(rows, reading.output)
    low, high = (float(edge) for edge in torch.aminmax(probabilities))
    right = low >= -tolerance and high <= 1 + tolerance
    if right and classes and reading.kind == "classes":
        right = sums_to_one(probabilities, tolerance)
    if not right:
        wanted = "sum to 1 in each row" if reading.kind == "classes" and several else "lie between 0 and 1"
        exp = "the exponentials of its values" if reading.output == "log-probabilities" else "its values"
        raise TaskError(
            f"the output is said to be {reading.output}, so {exp} must {wanted}; they run from {low:.4g} to "
            f"{high:.4g}.\nPass what it is: `output='logits'`, `output='probabilities'` or "
            "`output='log-probabilities'`."
        )
