"""Networks of other kinds: recurrent, generative, physical, of experts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo.blocks import Call, mlp
from benchmarks.zoo.trial import Build, Trial, classifier, cross_entropy, mean_squared_error


def cases() -> dict[str, Build]:
    """Return the trials by name."""
    return {
        "LSTM tagger": tagger,
        "time-major RNN": time_major,
        "character LSTM": next_character,
        "VAE": vae,
        "PINN": pinn,
        "force field": forces,
        "UNet": unet,
        "autoencoder": autoencoder,
        "GAN discriminator": discriminator,
        "flow": flow,
        "deep sets": deep_sets,
        "bag of words": bag_of_words,
        "embedding, max_norm": max_norm,
        "sparse embedding": sparse_embedding,
        "scalar temperature": temperature,
        "complex weights": complex_weights,
        "sparse adjacency": sparse_adjacency,
        "mixture of experts": experts,
        "hypernetwork": hypernetwork,
        "neural ODE": ode,
        "two inputs, dict": two_inputs,
        "tied autoencoder": tied,
        "fixed random features": random_features,
        "normalising batch": batch_mean,
        "cosine classifier": cosine,
        "KAN-like splines": splines,
    }


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
        lambda s, x: s.head(s.rnn(s.embed(x))[0]),
        embed=nn.Embedding(12, 6),
        rnn=nn.LSTM(6, 8, batch_first=True),
        head=nn.Linear(8, 12),
    )
    text = torch.randint(0, 12, (6, 9))
    batch = text[:, :-1], text[:, 1:]
    return Trial(
        model,
        batch,
        nn.CrossEntropyLoss(),
        lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten()),
        forward=lambda m, b: m(b[0]).movedim(-1, 1),
    )


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
        return s.out(torch.cat([a, F.interpolate(b, scale_factor=2, mode="bilinear")], 1))

    model = Call(
        forward, down=nn.Conv2d(1, 4, 3, padding=1), middle=nn.Conv2d(4, 6, 3, padding=1), out=nn.Conv2d(10, 3, 1)
    )
    return Trial(model, (torch.randn(3, 1, 8, 8), torch.randint(0, 3, (3, 8, 8))), "cross_entropy", cross_entropy)


def autoencoder() -> Trial:
    return Trial(
        mlp(12, 6, 12),
        (torch.rand(16, 12),),
        lambda out, b: F.mse_loss(out, b[0]),
        lambda m, b: F.mse_loss(m(b[0]), b[0]),
        forward=lambda m, b: m(b[0]),
    )


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

    return Trial(
        Call(forward, net=mlp(3, 8, 6)),
        (torch.randn(20, 6),),
        loss,
        lambda m, b: loss(m(b[0]), None).mean(),
        forward=lambda m, b: m(b[0]),
    )


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
        lambda s, x: s.head(torch.fft.irfft(torch.fft.rfft(s.layer(x)) * s.filter, n=8)),
        layer=nn.Linear(4, 8),
        filter=nn.Parameter(torch.randn(5, dtype=torch.complex64)),
        head=nn.Linear(8, 3),
    )
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
        return s.head(x)

    return classifier(Call(forward, field=mlp(4, 8, 4), head=nn.Linear(4, 3)), torch.randn(20, 4), 3)


def two_inputs() -> Trial:
    model = Call(lambda s, left, right: s.head(torch.cat([left, right], 1)), head=mlp(7, 8, 3))
    batch = {"left": torch.randn(20, 4), "right": torch.randn(20, 3), "labels": torch.arange(20) % 3}
    return Trial(
        model, batch, "cross_entropy", lambda m, b: F.cross_entropy(m(left=b["left"], right=b["right"]), b["labels"])
    )


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
        weight=nn.Parameter(torch.randn(4, 5, 3)),
        knots=nn.Parameter(torch.linspace(-2, 2, 5), requires_grad=False),
    )
    return classifier(model, torch.randn(20, 4), 3)
