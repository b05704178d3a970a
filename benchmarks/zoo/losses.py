"""Losses of other kinds: weighted, contrastive, of reinforcement learning, with terms of several kinds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo.blocks import Call, mlp
from benchmarks.zoo.trial import Build, Trial, cross_entropy


def cases() -> dict[str, Build]:
    """Return the trials by name."""
    return {
        "segmentation, ignored pixels": ignored_pixels,
        "DQN": dqn,
        "actor-critic": actor_critic,
        "triplet": triplet,
        "SimCLR": simclr,
        "CLIP": clip,
        "SimSiam": simsiam,
        "class-weighted": class_weighted,
        "label smoothing": label_smoothing,
        "binary, one logit": binary,
        "multi-label": multi_label,
        "probabilities, BCELoss": probabilities,
        "log-probabilities, NLLLoss": log_probabilities,
        "Gaussian NLL": gaussian,
        "Huber": huber,
        "Poisson": poisson,
        "CTC": ctc,
        "hinge": hinge,
        "focal": focal,
        "box head": box_head,
    }


def ignored_pixels() -> Trial:
    targets = torch.randint(0, 3, (5, 6, 6))
    targets[0, :4] = targets[3] = 255
    loss = nn.CrossEntropyLoss(ignore_index=255)
    return Trial(
        nn.Conv2d(2, 3, 3, padding=1),
        (torch.randn(5, 2, 6, 6), targets),
        loss,
        lambda m, b: loss(m(b[0]), b[1]),
        options={"batch_size": 2},
    )


def dqn() -> Trial:
    """The Q value of the action taken against a fixed target."""

    def loss(q: Tensor, batch: Any) -> Tensor:
        return F.smooth_l1_loss(q.gather(1, batch["action"][:, None])[:, 0], batch["target"])

    batch = {"state": torch.randn(20, 4), "action": torch.randint(0, 3, (20,)), "target": torch.randn(20)}
    return Trial(
        mlp(4, 16, 3, act=nn.ReLU),
        batch,
        lambda q, _: loss(q, batch_like(q, batch)),
        lambda m, b: loss(m(b["state"]), b),
        forward=lambda m, b: m(b["state"]),
    )


def batch_like(q: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the whole batch with its targets in the dtype of the predictions."""
    return {**batch, "target": batch["target"].to(q.dtype)}


def actor_critic() -> Trial:
    def loss(output: Any, batch: Any) -> Tensor:
        logits, value = output
        chosen = F.log_softmax(logits, 1).gather(1, batch["action"][:, None])[:, 0]
        return -(chosen * batch["advantage"]).mean() + 0.5 * F.mse_loss(value[:, 0], batch["reward"])

    model = Call(lambda s, x: (s.actor(x), s.critic(x)), actor=mlp(4, 8, 3), critic=mlp(4, 8, 1))
    batch = {
        "state": torch.randn(20, 4),
        "action": torch.randint(0, 3, (20,)),
        "advantage": torch.randn(20),
        "reward": torch.randn(20),
    }
    return Trial(
        model,
        batch,
        lambda out, b: loss(out, b),
        lambda m, b: loss(m(b["state"]), b),
        forward=lambda m, b: m(b["state"]),
    )


def triplet() -> Trial:
    loss = nn.TripletMarginLoss()
    batch = tuple(torch.randn(12, 5) for _ in range(3))
    return Trial(
        mlp(5, 8, 4),
        batch,
        lambda out, _: loss(*out),
        lambda m, b: loss(*map(m, b)),
        forward=lambda m, b: tuple(map(m, b)),
    )


def simclr() -> Trial:
    """Each of two views is to find the other among all in the batch."""

    def loss(output: Any, _: Any) -> Tensor:
        a, b = (F.normalize(item, dim=1) for item in output)
        return F.cross_entropy(a @ b.T / 0.5, torch.arange(len(a)))

    return Trial(
        mlp(5, 8, 4),
        (torch.randn(12, 5), torch.randn(12, 5)),
        loss,
        lambda m, b: loss((m(b[0]), m(b[1])), None),
        forward=lambda m, b: (m(b[0]), m(b[1])),
    )


def clip() -> Trial:
    """Logits (B, B) under a named loss."""
    model = Call(
        lambda s, a, b: s.scale.exp() * F.normalize(s.left(a), dim=1) @ F.normalize(s.right(b), dim=1).T,
        left=nn.Linear(5, 4),
        right=nn.Linear(6, 4),
        scale=nn.Parameter(torch.tensor(0.7)),
    )
    return Trial(model, (torch.randn(10, 5), torch.randn(10, 6), torch.arange(10)), "cross_entropy", cross_entropy)


def simsiam() -> Trial:
    """The gradient stops at the second branch, so autograd is not the derivative of the loss."""

    def loss(output: Any, _: Any) -> Tensor:
        p, z = output
        return -F.cosine_similarity(p, z.detach()).mean()

    def forward(m: Any, b: Any) -> Any:
        z = m.encoder(b[0])
        return m.predictor(z), m.encoder(b[1])

    model = Call(lambda s, x: s.encoder(x), encoder=mlp(5, 8, 4), predictor=mlp(4, 4, 4))
    return Trial(
        model, (torch.randn(12, 5), torch.randn(12, 5)), loss, lambda m, b: loss(forward(m, b), None), forward=forward
    )


def class_weighted() -> Trial:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.1, 1.0, 9.0]))
    wide = lambda m: nn.CrossEntropyLoss(weight=loss.weight.to(next(m.parameters()).dtype))  # type: ignore[union-attr]  # noqa: E731
    return Trial(
        mlp(4, 8, 3),
        (torch.randn(30, 4), torch.arange(30) % 3),
        loss,
        lambda m, b: wide(m)(m(b[0]), b[1]),
        options={"batch_size": 7},
    )


def label_smoothing() -> Trial:
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return Trial(mlp(4, 8, 3), (torch.randn(30, 4), torch.arange(30) % 3), loss, lambda m, b: loss(m(b[0]), b[1]))


def binary() -> Trial:
    batch = torch.randn(30, 4), (torch.arange(30) % 2).float()
    return Trial(
        mlp(4, 8, 1),
        batch,
        "binary_cross_entropy",
        lambda m, b: F.binary_cross_entropy_with_logits(m(b[0])[:, 0], b[1]),
    )


def multi_label() -> Trial:
    loss = nn.BCEWithLogitsLoss()
    return Trial(
        mlp(4, 8, 5), (torch.randn(30, 4), (torch.rand(30, 5) > 0.6).float()), loss, lambda m, b: loss(m(b[0]), b[1])
    )


def probabilities() -> Trial:
    model = nn.Sequential(mlp(4, 8, 1), nn.Sigmoid())
    return Trial(
        model,
        (torch.randn(30, 4), (torch.rand(30, 1) > 0.6).float()),
        nn.BCELoss(),
        lambda m, b: F.binary_cross_entropy(m(b[0]), b[1]),
    )


def log_probabilities() -> Trial:
    model = nn.Sequential(mlp(4, 8, 3), nn.LogSoftmax(1))
    return Trial(
        model, (torch.randn(30, 4), torch.arange(30) % 3), nn.NLLLoss(), lambda m, b: F.nll_loss(m(b[0]), b[1])
    )


def gaussian() -> Trial:
    loss = nn.GaussianNLLLoss()
    model = Call(lambda s, x: (s.mean(x), F.softplus(s.spread(x))), mean=mlp(4, 8, 1), spread=mlp(4, 8, 1))
    return Trial(
        model,
        (torch.randn(30, 4), torch.randn(30, 1)),
        lambda out, y: loss(out[0], y, out[1]),
        lambda m, b: loss(m(b[0])[0], b[1], m(b[0])[1]),
    )


def huber() -> Trial:
    return Trial(
        mlp(4, 8, 1), (torch.randn(30, 4), torch.randn(30, 1)), nn.HuberLoss(), lambda m, b: F.huber_loss(m(b[0]), b[1])
    )


def poisson() -> Trial:
    loss = nn.PoissonNLLLoss()
    return Trial(
        mlp(4, 8, 1), (torch.randn(30, 4), torch.poisson(torch.ones(30, 1))), loss, lambda m, b: loss(m(b[0]), b[1])
    )


def ctc() -> Trial:
    loss = nn.CTCLoss()
    lengths = torch.full((5,), 9), torch.full((5,), 4)

    def value(output: Tensor, target: Tensor) -> Tensor:
        return loss(output.log_softmax(-1).transpose(0, 1), target, *lengths)

    return Trial(
        mlp(6, 8, 5), (torch.randn(5, 9, 6), torch.randint(1, 5, (5, 4))), value, lambda m, b: value(m(b[0]), b[1])
    )


def hinge() -> Trial:
    loss = nn.MultiMarginLoss()
    return Trial(mlp(4, 8, 3), (torch.randn(30, 4), torch.arange(30) % 3), loss, lambda m, b: loss(m(b[0]), b[1]))


def focal() -> Trial:
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        log_p = F.log_softmax(logits, 1).gather(1, target[:, None])[:, 0]
        return -((1 - log_p.exp()) ** 2 * log_p)

    return Trial(
        mlp(4, 8, 3), (torch.randn(30, 4), torch.arange(30) % 3), loss, lambda m, b: loss(m(b[0]), b[1]).mean()
    )


def box_head() -> Trial:
    def loss(output: Any, target: Any) -> Tensor:
        return F.smooth_l1_loss(output[0], target["box"]) + F.cross_entropy(output[1], target["label"])

    model = Call(lambda s, x: (s.box(x), s.kind(x)), box=mlp(6, 8, 4), kind=mlp(6, 8, 3))
    batch = torch.randn(12, 6), {"box": torch.rand(12, 4), "label": torch.arange(12) % 3}
    return Trial(model, batch, loss, lambda m, b: loss(m(b[0]), b[1]))
