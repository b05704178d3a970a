"""Networks and losses of other kinds: recurrent, generative, physical, contrastive, of reinforcement learning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo.trial import Build, Trial, classifier, cross_entropy, mean_squared_error


def cases() -> dict[str, Build]:
    """Return the trials by name."""
    return {
        "LSTM tagger": tagger, "time-major RNN": time_major, "character LSTM": next_character, "VAE": vae, "PINN": pinn,
        "force field": forces, "UNet": unet, "segmentation, ignored pixels": ignored_pixels, "DQN": dqn,
        "actor-critic": actor_critic, "triplet": triplet, "SimCLR": simclr, "CLIP": clip, "SimSiam": simsiam,
        "class-weighted": class_weighted, "label smoothing": label_smoothing, "binary, one logit": binary,
        "multi-label": multi_label, "probabilities, BCELoss": probabilities, "log-probabilities, NLLLoss": log_probabilities,
        "Gaussian NLL": gaussian, "Huber": huber, "Poisson": poisson, "CTC": ctc, "hinge": hinge, "focal": focal,
        "autoencoder": autoencoder, "GAN discriminator": discriminator, "flow": flow, "deep sets": deep_sets,
        "bag of words": bag_of_words, "embedding, max_norm": max_norm, "sparse embedding": sparse_embedding,
        "scalar temperature": temperature, "complex weights": complex_weights, "sparse adjacency": sparse_adjacency,
        "mixture of experts": experts, "hypernetwork": hypernetwork, "neural ODE": ode, "two inputs, dict": two_inputs,
        "box head": box_head, "tied autoencoder": tied, "fixed random features": random_features, "normalising batch": batch_mean,
        "cosine classifier": cosine, "KAN-like splines": splines,
    }  # fmt: skip


def mlp(*widths: int, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class Call(nn.Module):
    """Modules with a forward given as a function of (self, *inputs)."""

    def __init__(self, forward: Any, **modules: Any) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._function = forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self._function(self, *inputs, **named)


def tagger() -> Trial:
    model = Call(lambda s, x: s.head(s.rnn(x)[0]), rnn=nn.LSTM(5, 8, batch_first=True), head=nn.Linear(8, 4))
    batch = torch.randn(6, 7, 5), torch.randint(0, 4, (6, 7))
    return Trial(model, batch, "cross_entropy", lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten()))


def time_major() -> Trial:
    """Inputs (T, N, F) with one target for each of N."""
    model = Call(lambda s, x: s.head(s.rnn(x)[0][-1]), rnn=nn.GRU(5, 8), head=nn.Linear(8, 3))
    return Trial(model, (torch.randn(9, 6, 5), torch.arange(6) % 3), "cross_entropy", cross_entropy)


def next_character() -> Trial:
    model = Call(
        lambda s, x: s.head(s.rnn(s.embed(x))[0]), embed=nn.Embedding(12, 6), rnn=nn.LSTM(6, 8, batch_first=True),
        head=nn.Linear(8, 12),
    )  # fmt: skip
    text = torch.randint(0, 12, (6, 9))
    batch = text[:, :-1], text[:, 1:]
    return Trial(model, batch, nn.CrossEntropyLoss(), lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten()),
                 forward=lambda m, b: m(b[0]).movedim(-1, 1))  # fmt: skip


def vae() -> Trial:
    """Reconstruction and divergence, with the mean of the code in place of a sample."""

    def loss(output: Any, x: Tensor) -> Tensor:
        picture, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        return F.binary_cross_entropy_with_logits(picture, x) + 0.01 * divergence

    def forward(s: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = s.encoder(x).chunk(2, dim=1)
        return s.decoder(mean + 0.1 * (0.5 * log_var).exp()), mean, log_var

    model = Call(forward, encoder=mlp(12, 10, 6), decoder=mlp(3, 10, 12))
    x = torch.rand(16, 12)
    return Trial(model, (x, x.clone()), loss, lambda m, b: loss(m(b[0]), b[1]))


def pinn() -> Trial:
    """u'' = -u on points, by derivatives inside the forward pass."""
    from torch.func import grad, vmap

    def residual(model: nn.Module, batch: Any) -> Tensor:
        def u(t: Tensor) -> Tensor:
            return model(t.reshape(1, 1)).squeeze()

        times = batch[0][:, 0]
        return (vmap(grad(grad(u)))(times) + vmap(u)(times))[:, None]

    batch = torch.linspace(0, 1, 12)[:, None], torch.zeros(12, 1)
    return Trial(mlp(1, 8, 8, 1), batch, "mse", lambda m, b: F.mse_loss(residual(m, b), b[1]), forward=residual)


def forces() -> Trial:
    """Minus the gradient of an energy by positions, through autograd.grad."""

    def force(model: nn.Module, batch: Any) -> Tensor:
        with torch.enable_grad():
            positions = batch[0].detach().requires_grad_()
            return -torch.autograd.grad(model(positions).sum(), positions, create_graph=True)[0]

    batch = torch.randn(10, 6), torch.randn(10, 6)
    return Trial(mlp(6, 8, 1), batch, "mse", lambda m, b: F.mse_loss(force(m, b), b[1]), forward=force)


def unet() -> Trial:
    def forward(s: Any, x: Tensor) -> Tensor:
        a = torch.relu(s.down(x))
        b = torch.relu(s.middle(F.max_pool2d(a, 2)))
        return s.out(torch.cat([a, F.interpolate(b, scale_factor=2, mode="bilinear")], 1))  # type: ignore[no-any-return]

    model = Call(
        forward, down=nn.Conv2d(1, 4, 3, padding=1), middle=nn.Conv2d(4, 6, 3, padding=1), out=nn.Conv2d(10, 3, 1)
    )
    return Trial(model, (torch.randn(3, 1, 8, 8), torch.randint(0, 3, (3, 8, 8))), "cross_entropy", cross_entropy)


def ignored_pixels() -> Trial:
    targets = torch.randint(0, 3, (5, 6, 6))
    targets[0, :4] = targets[3] = 255
    loss = nn.CrossEntropyLoss(ignore_index=255)
    return Trial(nn.Conv2d(2, 3, 3, padding=1), (torch.randn(5, 2, 6, 6), targets), loss, lambda m, b: loss(m(b[0]), b[1]),
                 options={"batch_size": 2})  # fmt: skip


def dqn() -> Trial:
    """The Q value of the action taken against a fixed target."""

    def loss(q: Tensor, batch: Any) -> Tensor:
        return F.smooth_l1_loss(q.gather(1, batch["action"][:, None])[:, 0], batch["target"])

    batch = {"state": torch.randn(20, 4), "action": torch.randint(0, 3, (20,)), "target": torch.randn(20)}
    return Trial(mlp(4, 16, 3, act=nn.ReLU), batch, lambda q, _: loss(q, batch_like(q, batch)), lambda m, b: loss(m(b["state"]), b),
                 forward=lambda m, b: m(b["state"]))  # fmt: skip


def batch_like(q: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the whole batch with its targets in the dtype of the predictions."""
    return {**batch, "target": batch["target"].to(q.dtype)}


def actor_critic() -> Trial:
    def loss(output: Any, batch: Any) -> Tensor:
        logits, value = output
        chosen = F.log_softmax(logits, 1).gather(1, batch["action"][:, None])[:, 0]
        return -(chosen * batch["advantage"]).mean() + 0.5 * F.mse_loss(value[:, 0], batch["reward"])

    model = Call(lambda s, x: (s.actor(x), s.critic(x)), actor=mlp(4, 8, 3), critic=mlp(4, 8, 1))
    batch = {"state": torch.randn(20, 4), "action": torch.randint(0, 3, (20,)), "advantage": torch.randn(20), "reward": torch.randn(20)}  # fmt: skip
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

    return Trial(mlp(5, 8, 4), (torch.randn(12, 5), torch.randn(12, 5)), loss, lambda m, b: loss((m(b[0]), m(b[1])), None),
                 forward=lambda m, b: (m(b[0]), m(b[1])))  # fmt: skip


def clip() -> Trial:
    """Logits (B, B) under a named loss."""
    model = Call(
        lambda s, a, b: s.scale.exp() * F.normalize(s.left(a), dim=1) @ F.normalize(s.right(b), dim=1).T,
        left=nn.Linear(5, 4), right=nn.Linear(6, 4), scale=nn.Parameter(torch.tensor(0.7)),
    )  # fmt: skip
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
        return loss(output.log_softmax(-1).transpose(0, 1), target, *lengths)  # type: ignore[no-any-return]

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


def autoencoder() -> Trial:
    return Trial(mlp(12, 6, 12), (torch.rand(16, 12),), lambda out, b: F.mse_loss(out, b[0]), lambda m, b: F.mse_loss(m(b[0]), b[0]),
                 forward=lambda m, b: m(b[0]))  # fmt: skip


def discriminator() -> Trial:
    net = mlp(6, 8, 1, act=nn.ReLU)
    model = nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(net[0]), net[1], net[2]).eval()
    batch = torch.randn(20, 6), (torch.arange(20) % 2).float()
    return Trial(
        model, batch, "binary_cross_entropy", lambda m, b: F.binary_cross_entropy_with_logits(m(b[0])[:, 0], b[1])
    )


def flow() -> Trial:
    """A coupling layer; the loss is the negative log-likelihood."""

    def loss(output: Any, _: Any) -> Tensor:
        z, log_det = output
        return 0.5 * z.square().sum(1) - log_det

    def forward(s: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        scale, shift = s.net(a).chunk(2, 1)
        return torch.cat([a, b * torch.tanh(scale).exp() + shift], 1), torch.tanh(scale).sum(1)

    return Trial(Call(forward, net=mlp(3, 8, 6)), (torch.randn(20, 6),), loss, lambda m, b: loss(m(b[0]), None).mean(),
                 forward=lambda m, b: m(b[0]))  # fmt: skip


def deep_sets() -> Trial:
    model = Call(lambda s, x: s.after(s.each(x).sum(1)), each=mlp(3, 8, 6), after=mlp(6, 8, 3))
    return classifier(model, torch.randn(12, 5, 3), 3)


def bag_of_words() -> Trial:
    model = nn.EmbeddingBag(11, 3)
    batch = torch.randint(0, 11, (20,)), torch.arange(0, 20, 4), torch.arange(5) % 3
    return Trial(
        model, batch, nn.CrossEntropyLoss(), lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]), options={"scope": "all"}
    )


def max_norm() -> Trial:
    model = nn.Sequential(nn.Embedding(9, 4, max_norm=0.5), nn.Flatten(), nn.Linear(8, 3))
    return classifier(model, torch.randint(0, 9, (20, 2)), 3)


def sparse_embedding() -> Trial:
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(8, 3))
    return classifier(model, torch.randint(0, 9, (20, 2)), 3, scope="all")


def temperature() -> Trial:
    model = Call(
        lambda s, x: s.layer(x) * s.temperature, layer=nn.Linear(4, 3), temperature=nn.Parameter(torch.tensor(1.5))
    )
    return classifier(model, torch.randn(20, 4), 3, scope="all")


def complex_weights() -> Trial:
    """Complex parameters outside the scope."""
    model = Call(
        lambda s, x: s.head(torch.fft.irfft(torch.fft.rfft(s.layer(x)) * s.filter, n=8)), layer=nn.Linear(4, 8),
        filter=nn.Parameter(torch.randn(5, dtype=torch.complex64)), head=nn.Linear(8, 3),
    )  # fmt: skip
    return classifier(model, torch.randn(20, 4), 3)


def sparse_adjacency() -> Trial:
    model = Call(lambda s, x, a: torch.sparse.mm(a, s.layer(x)), layer=nn.Linear(4, 3))
    batch = torch.randn(40, 4), (torch.rand(40, 40) > 0.8).float().to_sparse(), torch.arange(40) % 3
    return Trial(model, batch, "cross_entropy", cross_entropy)


def experts() -> Trial:
    """A soft mixture whose kernels are stacked in one tensor."""

    def forward(s: Any, x: Tensor) -> Tensor:
        gates = torch.softmax(s.gate(x), -1)
        return torch.einsum("ne,nei->ni", gates, torch.einsum("nd,edi->nei", torch.tanh(s.inner(x)), s.experts))

    model = Call(forward, inner=nn.Linear(4, 6), gate=nn.Linear(4, 3), experts=nn.Parameter(torch.randn(3, 6, 3)))
    return classifier(model, torch.randn(20, 4), 3)


def hypernetwork() -> Trial:
    """One net gives the kernel of another."""

    def forward(s: Any, x: Tensor, z: Tensor) -> Tensor:
        return torch.bmm(s.hyper(z).view(-1, 3, 4), x[..., None])[..., 0]

    model = Call(forward, hyper=mlp(2, 8, 12))
    return Trial(model, (torch.randn(20, 4), torch.randn(20, 2), torch.arange(20) % 3), "cross_entropy", cross_entropy)


def ode() -> Trial:
    """Euler steps of a learned vector field."""

    def forward(s: Any, x: Tensor) -> Tensor:
        for _ in range(8):
            x = x + 0.1 * s.field(x)
        return s.head(x)  # type: ignore[no-any-return]

    return classifier(Call(forward, field=mlp(4, 8, 4), head=nn.Linear(4, 3)), torch.randn(20, 4), 3)


def two_inputs() -> Trial:
    model = Call(lambda s, left, right: s.head(torch.cat([left, right], 1)), head=mlp(7, 8, 3))
    batch = {"left": torch.randn(20, 4), "right": torch.randn(20, 3), "labels": torch.arange(20) % 3}
    return Trial(
        model, batch, "cross_entropy", lambda m, b: F.cross_entropy(m(left=b["left"], right=b["right"]), b["labels"])
    )


def box_head() -> Trial:
    def loss(output: Any, target: Any) -> Tensor:
        return F.smooth_l1_loss(output[0], target["box"]) + F.cross_entropy(output[1], target["label"])

    model = Call(lambda s, x: (s.box(x), s.kind(x)), box=mlp(6, 8, 4), kind=mlp(6, 8, 3))
    batch = torch.randn(12, 6), {"box": torch.rand(12, 4), "label": torch.arange(12) % 3}
    return Trial(model, batch, loss, lambda m, b: loss(m(b[0]), b[1]))


def tied() -> Trial:
    """The decoder is the transposed encoder."""
    model = Call(lambda s, x: torch.tanh(s.layer(x)) @ s.layer.weight, layer=nn.Linear(12, 5))
    x = torch.rand(16, 12)
    return Trial(model, (x, x.clone()), "mse", mean_squared_error)


def random_features() -> Trial:
    """A frozen layer below a trained one."""
    model = mlp(4, 16, 3)
    model[0].requires_grad_(False)
    return classifier(model, torch.randn(20, 4), 3, scope="2.weight")


def batch_mean() -> Trial:
    """The forward subtracts the mean of the batch."""
    model = Call(
        lambda s, x: s.head(torch.tanh(s.layer(x) - s.layer(x).mean(0))), layer=nn.Linear(4, 8), head=nn.Linear(8, 3)
    )
    return classifier(model, torch.randn(20, 4), 3)


def cosine() -> Trial:
    model = Call(
        lambda s, x: 5 * F.linear(F.normalize(s.body(x), dim=1), F.normalize(s.weight, dim=1)),
        body=mlp(4, 8, 6),
        weight=nn.Parameter(torch.randn(3, 6)),
    )
    return classifier(model, torch.randn(20, 4), 3)


def splines() -> Trial:
    """Sums of Gaussian bumps with learned heights."""
    model = Call(
        lambda s, x: torch.einsum("nik,iko->no", torch.exp(-((x[..., None] - s.knots) ** 2)), s.weight),
        weight=nn.Parameter(torch.randn(4, 5, 3)), knots=nn.Parameter(torch.linspace(-2, 2, 5), requires_grad=False),
    )  # fmt: skip
    return classifier(model, torch.randn(20, 4), 3)
