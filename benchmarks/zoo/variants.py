"""The same small networks compiled, checkpointed, quantised in training, adapted, pruned and reparametrised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from benchmarks.zoo.blocks import Call, mlp
from benchmarks.zoo.trial import Build, Trial, classifier

INPUTS = (20, 6)


def cases() -> dict[str, Build]:
    """Return the trials by name."""
    nets: dict[str, Callable[[], nn.Module]] = {
        "torch.compile": lambda: torch.compile(net()),  # type: ignore[dict-item,return-value]
        "TorchScript, traced": lambda: torch.jit.trace(net(), torch.randn(INPUTS)),
        "TorchScript, scripted": lambda: torch.jit.script(net()),
        "torch.export": exported,
        "torch.fx": lambda: torch.fx.symbolic_trace(net()),
        "checkpoint, reentrant": lambda: checkpointed(True),
        "checkpoint, not reentrant": lambda: checkpointed(False),
        "checkpoint_sequential": sequential_checkpoints,
        "quantisation-aware": quantisation_aware,
        "straight-through rounding": straight_through,
        "LoRA": lora,
        "LoRA by hand": lora_by_hand,
        "weight norm": lambda: with_weight(parametrizations.weight_norm),
        "weight norm, old": lambda: with_weight(torch.nn.utils.weight_norm),
        "spectral norm": lambda: with_weight(parametrizations.spectral_norm),
        "spectral norm, old": lambda: with_weight(torch.nn.utils.spectral_norm),
        "orthogonal": lambda: with_weight(parametrizations.orthogonal),
        "pruned": lambda: with_weight(lambda layer: prune.l1_unstructured(layer, "weight", 0.3)),
        "frozen backbone": frozen,
        "no_grad backbone": no_grad_backbone,
        "DataParallel": lambda: nn.DataParallel(net()),
        "averaged (SWA)": averaged,
        "bfloat16": lambda: net().bfloat16(),
        "float64": lambda: net().double(),
        "tied layers": tied,
        "shared module": shared,
        "dropout in training mode": lambda: nn.Sequential(net(), nn.Dropout(0.1)),
        "stochastic depth": stochastic,
        "hooks": hooked,
    }
    found: dict[str, Build] = {name: lambda make=make: trial(make()) for name, make in nets.items()}  # type: ignore[misc]
    found["dropout in training mode"] = lambda: trial(nn.Sequential(net(), nn.Dropout(0.1)), training=True)
    found["BatchNorm in training mode"] = lambda: trial(
        nn.Sequential(mlp(6, 8, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), training=True
    )
    return found


def net() -> nn.Sequential:
    return mlp(6, 8, 8, 3).eval()


def trial(model: nn.Module, **options: Any) -> Trial:
    if not options:
        model = model.eval() if not isinstance(model, torch.fx.GraphModule) else model
    dtype = next(model.parameters()).dtype
    return classifier(model, torch.randn(INPUTS).to(dtype), 3, **options)


def exported() -> nn.Module:
    return torch.export.export(net(), (torch.randn(INPUTS),)).module()


def checkpointed(reentrant: bool) -> nn.Module:
    return Call(
        lambda s, x: s.head(checkpoint(s.body, x, use_reentrant=reentrant)), body=mlp(6, 8, 8), head=nn.Linear(8, 3)
    )


def sequential_checkpoints() -> nn.Module:
    return Call(lambda s, x: checkpoint_sequential(s.body, 2, x, use_reentrant=False), body=net())


def quantisation_aware() -> nn.Module:
    model = net().train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    prepared = torch.ao.quantization.prepare_qat(model)
    prepared(torch.randn(INPUTS))  # sets the scales
    return prepared.apply(torch.ao.quantization.disable_observer).eval()


class RoundedLinear(nn.Linear):
    """Weights rounded in the forward pass; the gradient goes straight through."""

    def forward(self, x: Tensor) -> Tensor:
        rounded = self.weight + ((self.weight * 32).round() / 32 - self.weight).detach()
        return nn.functional.linear(x, rounded, self.bias)


def straight_through() -> nn.Module:
    return nn.Sequential(RoundedLinear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def lora() -> nn.Module:
    import peft

    config = peft.LoraConfig(r=2, target_modules=["0", "2"], init_lora_weights=False)
    return peft.get_peft_model(net(), config)


class Adapter(nn.Module):
    """A frozen layer plus a product of two thin matrices."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(2, base.in_features) / 4)
        self.lora_b = nn.Parameter(torch.randn(base.out_features, 2) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.lora_a.T @ self.lora_b.T


def lora_by_hand() -> nn.Module:
    return nn.Sequential(Adapter(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 3))


def with_weight(change: Callable[[nn.Module], Any]) -> nn.Module:
    model = net()
    change(model[2])
    return model


def frozen() -> nn.Module:
    model = net()
    model[0].requires_grad_(False)
    return model


def no_grad_backbone() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = s.body(x)
        return s.head(features)

    return Call(forward, body=mlp(6, 8, 8), head=nn.Linear(8, 3))


def averaged() -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(net())


def tied() -> nn.Module:
    model = mlp(6, 6, 6, 3)
    model[2].weight = model[0].weight
    return model


def shared() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(6, 3))


def stochastic() -> nn.Module:
    """A block that is left out at random in training mode only."""
    return Call(
        lambda s, x: s.head(x + (0 if s.training and torch.rand(()) < 0.5 else s.body(x))),
        body=mlp(6, 8, 6),
        head=nn.Linear(6, 3),
    )


def hooked() -> nn.Module:
    """A forward hook that doubles the output of a layer."""
    model = net()
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model
