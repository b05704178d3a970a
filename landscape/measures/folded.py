"""A net of linear and convolution layers with its BatchNorm folded into them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.objective.batch_loss import CENTRE, ModelProgram, evaluating
from landscape.objective.batches import Batch, make_batch, spread
from landscape.objective.losses.predictions import logits_of
from landscape.objective.parameters import Layout

_Norm = nn.modules.batchnorm._BatchNorm
_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_TRANSPOSED = nn.modules.conv._ConvTransposeNd
TOLERANCE = 1e-9  #: relative difference that is rounding of a pass in float64
_SAMPLES = 8  # that show whether the folded net is the same


@dataclass(frozen=True)
class Folded:
    """A copy of a net in float64, with the scale and shift of BatchNorm layers in the layers before them.

    Attributes:
        program: runs the copy on batches in float64.
        layers: the linear and convolution layers of the copy, in the order of the model.
        norms: BatchNorm layers that cannot go into a layer before them, as a scale and a shift per channel.
    """

    program: ModelProgram
    layers: tuple[Any, ...]
    norms: tuple[_Norm, ...]

    def matrices(self) -> list[Tensor]:
        """Return each layer as a matrix (units, inputs), float64; a convolution as that of its filters."""
        matrices = [_by_unit(layer, layer.weight.detach().double()).flatten(1) for layer in self.layers]
        return [*matrices, *(norm.weight.detach().double().diag() for norm in self.norms)]


def folded_of(draws: Draws) -> Folded:
    """Return the folded net of an objective, made once for all measures that ask.

    Raises:
        LandscapeError: if the net has other layers with weights, or its BatchNorm uses the statistics of each batch.
    """
    return draws.once("folded", lambda: _fold(draws))


def _fold(draws: Draws) -> Folded:
    program = draws.objective.program
    if not isinstance(program, ModelProgram):
        raise LandscapeError("this measure needs the layers of a model, and the loss is a plain function.")
    _check_layers(program.model, training=program.training)
    model = _at_the_point(program.model, draws).double()
    few = in_float64(spread(program.batches[0], _SAMPLES))
    pairs = _pairs(program_of(program, model), few)
    original = output_of(program_of(program, model), few)

    def unchanged() -> bool:
        output = output_of(program_of(program, model), few)
        return torch.allclose(output, original, TOLERANCE, TOLERANCE * float(original.abs().max()))

    norms = [module for module in model.modules() if isinstance(module, _Norm)]
    with torch.no_grad():
        for norm in norms:
            _make_affine(norm)
        folded = [norm for layer, norm in pairs if _folds(layer, norm, unchanged)]
    draws.charge((2 + len(pairs)) * few.samples / draws.objective.samples, 2 + len(pairs))
    layers = tuple(module for module in model.modules() if isinstance(module, _LAYERS))
    return Folded(program_of(program, model), layers, tuple(norm for norm in norms if norm not in folded))


def _at_the_point(model: nn.Module, draws: Draws) -> nn.Module:
    """Return a copy of the model with the parameters of the trained point, each a tensor of its own."""
    copy = deepcopy(model)
    views = draws.objective.layout.views(draws.objective.theta)
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            if name in views:
                parameter.copy_(views[name])
    return copy


def in_float64(batch: Batch, fill: float | None = None) -> Batch:
    """Return a batch with its floating-point tensors in float64, with every entry equal to ``fill`` if it is given."""

    def change(item: Any) -> Any:
        if not isinstance(item, Tensor) or not item.is_floating_point():
            return item
        return item.double() if fill is None else torch.full_like(item, fill, dtype=torch.float64)

    return make_batch(tree_map(change, batch.raw), batch.samples)


def output_of(program: ModelProgram, batch: Batch) -> Tensor:
    """Return the predictions of a program's own model on a batch."""
    program = program.with_batches((batch,))
    named = dict(program.model.named_parameters())
    theta = program.layout.flatten(named, next(iter(named.values())).device)
    with program.running(), evaluating(program, 0, CENTRE):
        return logits_of(program.output(theta, 0))


def _check_layers(model: nn.Module, *, training: bool) -> None:
    """Refuse a net with weights in other layers than linear, convolution and BatchNorm ones."""
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        plain = isinstance(module, _LAYERS) and isinstance(module._parameters.get("weight"), nn.Parameter)
        if own and not plain and not isinstance(module, _Norm):
            raise LandscapeError(
                f"norms of layers are defined for linear, convolution and BatchNorm layers, and {name or 'the model'} "
                f"({type(module).__name__}) has weights of another kind."
            )
        if isinstance(module, _Norm) and (training or module.running_mean is None):
            raise LandscapeError(
                f"the BatchNorm layer {name} uses the statistics of each batch, so it cannot be folded into a layer. "
                "Leave `training=...` out, or give the model running statistics."
            )


def program_of(like: ModelProgram, model: nn.Module) -> ModelProgram:
    """Return a program for another model with the data, loss and forward function of ``like``."""
    return ModelProgram(model, like.batches, like.losses[0], Layout.of(model), forward=like.forward)


def _pairs(program: ModelProgram, batch: Batch) -> list[tuple[nn.Module, _Norm]]:
    """Return each BatchNorm layer whose input is the output of a linear or convolution layer, with that layer."""
    sources: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensor is kept, so that its id stays its own
    pairs: list[tuple[nn.Module, _Norm]] = []

    def after(module: nn.Module, _: Any, output: Tensor) -> None:
        sources[id(output)] = module, output

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        source = sources.get(id(inputs[0])) if inputs else None
        if source is not None:
            pairs.append((source[0], module))  # type: ignore[arg-type]

    hooks = [m.register_forward_hook(after) for m in program.model.modules() if isinstance(m, _LAYERS)]
    hooks += [m.register_forward_pre_hook(before) for m in program.model.modules() if isinstance(m, _Norm)]
    try:
        output_of(program, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return _unique(pairs)


def _unique(pairs: list[tuple[nn.Module, _Norm]]) -> list[tuple[nn.Module, _Norm]]:
    """Return the pairs whose two layers occur in no other pair: a layer that is used twice cannot be folded."""
    uses = [id(module) for pair in {(id(a), id(b)): (a, b) for a, b in pairs}.values() for module in pair]
    return [pair for pair in dict.fromkeys(pairs) if all(uses.count(id(module)) == 1 for module in pair)]


def _make_affine(norm: _Norm) -> None:
    """Turn a BatchNorm layer with running statistics into weight · x + bias, with mean 0 and variance 1."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    slope = (norm.running_var + norm.eps).rsqrt()
    weight = slope if norm.weight is None else norm.weight * slope
    shift = -norm.running_mean * weight if norm.bias is None else norm.bias - norm.running_mean * weight
    norm.weight, norm.bias = nn.Parameter(weight.clone()), nn.Parameter(shift.clone())
    norm.affine = True
    _forget_statistics(norm)


def _forget_statistics(norm: _Norm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.eps = 0.0
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)


def _folds(layer: Any, norm: _Norm, unchanged: Callable[[], bool]) -> bool:
    """Move the scale and shift of an affine BatchNorm layer into the layer before it, and return whether that is right.

    If something else uses the output of that layer too, such as a shortcut, the net's output changes. Then nothing
    moves.
    """
    weight, bias = layer.weight.data.clone(), layer.bias
    slope, shift = norm.weight.data.clone(), norm.bias.data.clone()
    rows = _by_unit(layer, layer.weight.data)
    rows.mul_(slope.reshape(-1, *(1,) * (rows.dim() - 1)))
    layer.bias = nn.Parameter(shift if bias is None else shift + slope * bias)
    norm.weight.fill_(1.0)
    norm.bias.zero_()
    if unchanged():
        return True
    layer.weight.copy_(weight)
    layer.bias = bias
    norm.weight.copy_(slope)
    norm.bias.copy_(shift)
    return False


def _by_unit(layer: Any, weight: Tensor) -> Tensor:
    """Return a weight with its output units first; a view if the layer allows it."""
    if not isinstance(layer, _TRANSPOSED):
        return weight
    if layer.groups > 1:
        raise LandscapeError("norms of layers are not defined for transposed convolutions with groups.")
    return weight.transpose(0, 1)
