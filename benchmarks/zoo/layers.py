"""Every layer of ``torch.nn`` that has parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.trial import Build, Trial, layer_trial

N = 8


def cases() -> dict[str, Build]:
    """Return a trial for each layer."""
    line, plane, solid = (N, 4, 9), (N, 4, 6, 6), (N, 4, 4, 4, 4)
    shapes = {1: line, 2: plane, 3: solid}
    found: dict[str, Build] = {
        "Linear": lambda: layer_trial(nn.Linear(5, 6), torch.randn(N, 5)),
        "Bilinear": lambda: layer_trial(nn.Bilinear(4, 5, 6), torch.randn(N, 4), torch.randn(N, 5)),
        "PReLU": lambda: layer_trial(nn.Sequential(nn.Linear(5, 6), nn.PReLU(6)), torch.randn(N, 5)),
        "Embedding": lambda: layer_trial(nn.Embedding(11, 4), torch.randint(0, 11, (N, 3))),
        "EmbeddingBag": lambda: layer_trial(nn.EmbeddingBag(11, 4), torch.randint(0, 11, (N, 3))),
        "LayerNorm": lambda: layer_trial(nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6)), torch.randn(N, 5)),
        "RMSNorm": lambda: layer_trial(nn.Sequential(nn.Linear(5, 6), nn.RMSNorm(6)), torch.randn(N, 5)),
        "GroupNorm": lambda: layer_trial(nn.Sequential(nn.Conv2d(4, 6, 3), nn.GroupNorm(3, 6)), torch.randn(plane)),
        "MultiheadAttention": lambda: layer_trial(
            nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(N, 5, 8), call=lambda m, x: m(x, x, x)[0]
        ),
        "TransformerEncoderLayer": lambda: layer_trial(encoder_layer(), torch.randn(N, 5, 8)),
        "TransformerEncoder": lambda: layer_trial(nn.TransformerEncoder(encoder_layer(), 2), torch.randn(N, 5, 8)),
        "TransformerDecoderLayer": lambda: layer_trial(decoder_layer(), torch.randn(N, 5, 8), torch.randn(N, 4, 8)),
        "TransformerDecoder": lambda: layer_trial(
            nn.TransformerDecoder(decoder_layer(), 2), torch.randn(N, 5, 8), torch.randn(N, 4, 8)
        ),
        "Transformer": lambda: layer_trial(
            nn.Transformer(8, 2, 1, 1, 16, batch_first=True), torch.randn(N, 5, 8), torch.randn(N, 4, 8)
        ),
        "AdaptiveLogSoftmaxWithLoss": adaptive_softmax,
    }
    if hasattr(nn, "LinearCrossEntropyLoss"):  # torch 2.6 has none
        found["LinearCrossEntropyLoss"] = linear_cross_entropy
    for name in ("RNN", "GRU", "LSTM"):
        found[name] = lambda name=name: layer_trial(  # type: ignore[misc]
            getattr(nn, name)(5, 6, batch_first=True), torch.randn(N, 4, 5), call=lambda m, x: m(x)[0]
        )
        found[f"{name}Cell"] = lambda name=name: layer_trial(  # type: ignore[misc]
            getattr(nn, f"{name}Cell")(5, 6), torch.randn(N, 5), call=first_state
        )
    for d, shape in shapes.items():
        for kind in ("Conv", "ConvTranspose", "LazyConv", "LazyConvTranspose"):
            found[f"{kind}{d}d"] = lambda d=d, shape=shape, kind=kind: convolution(kind, d, shape)  # type: ignore[misc]
        for kind in ("BatchNorm", "InstanceNorm", "LazyBatchNorm", "LazyInstanceNorm"):
            found[f"{kind}{d}d"] = lambda d=d, shape=shape, kind=kind: norm(kind, d, shape)  # type: ignore[misc]
    found["SyncBatchNorm"] = lambda: layer_trial(
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.SyncBatchNorm(6)).eval(), torch.randn(plane)
    )
    found["LazyLinear"] = lambda: layer_trial(nn.LazyLinear(6), torch.randn(N, 5))
    return found


def encoder_layer() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


def decoder_layer() -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)


def first_state(cell: nn.Module, x: Tensor) -> Tensor:
    """Return the hidden state of a cell; an LSTM cell returns two."""
    state = cell(x)
    return state[0] if isinstance(state, tuple) else state


def convolution(kind: str, d: int, shape: tuple[int, ...]) -> Trial:
    channels = (6,) if kind.startswith("Lazy") else (4, 6)
    return layer_trial(getattr(nn, f"{kind}{d}d")(*channels, 3), torch.randn(shape))


def norm(kind: str, d: int, shape: tuple[int, ...]) -> Trial:
    """Return a convolution with a norm, which has seen two batches so that its statistics are its own."""
    options: dict[str, Any] = {"affine": True} if "Instance" in kind else {}
    channels = () if kind.startswith("Lazy") else (6,)
    layer = nn.Sequential(getattr(nn, f"Conv{d}d")(4, 6, 3), getattr(nn, f"{kind}{d}d")(*channels, **options))
    for _ in range(2):
        layer(torch.randn(shape))
    return layer_trial(layer.eval(), torch.randn(shape))


class WithLoss(nn.Module):
    """A network whose last layer computes the loss itself, as these layers do."""

    def __init__(self, last: nn.Module, pick: str | None) -> None:
        super().__init__()
        self.body, self.last, self.pick = nn.Linear(5, 6), last, pick

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        value = self.last(torch.tanh(self.body(x)), labels)
        return {"loss": value if self.pick is None else getattr(value, self.pick)}


def adaptive_softmax() -> Trial:
    return with_loss(nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3, 6], div_value=2.0), "loss")


def linear_cross_entropy() -> Trial:
    return with_loss(nn.LinearCrossEntropyLoss(6, 10), None)


def with_loss(last: nn.Module, pick: str | None) -> Trial:
    batch = {"x": torch.randn(20, 5), "labels": torch.arange(20) % 10}
    return Trial(WithLoss(last, pick), batch, "model", lambda m, b: m(**b)["loss"], options={"scope": "all"})
