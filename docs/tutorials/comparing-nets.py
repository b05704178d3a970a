# %% [markdown]
# # Comparing nets
#
# Two networks reach low loss on the same data. One generalises, the other has learnt its data by heart. Which basin
# is larger, and can the numbers tell?
#
# ## Two networks
#
# Both see the same 60 points with the right labels. The second also sees 60 points with wrong labels, so it has to
# bend around them. This is how Huang et al. (2019) make minima that generalise badly.

# %%
import torch
from torch import nn

import landscape as ls

torch.manual_seed(0)


def ring(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    points = 1.5 * torch.randn(count, 2)
    return points, (points.norm(dim=1) > 1.7).long()


train, (poison, right), test = ring(60), ring(60), ring(2000)


def trained(points: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 40), nn.ReLU(), nn.Linear(40, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(1500):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(points), labels).backward()
        optimiser.step()
    return net


good = trained(*train)
bad = trained(torch.cat([train[0], poison]), torch.cat([train[1], 1 - right]))

for name, net in {"good": good, "bad": bad}.items():
    on_train, on_test = (ls.Objective(net, data, "cross_entropy") for data in (train, test))
    print(f"{name}: training loss {on_train.centre:.4f}, test accuracy {on_test.accuracy():.1%}")

# %% [markdown]
# ## Their volumes
#
# Both are measured on the training data, up to the same cutoff, with the same seed. So both see the same rays.

# %%
good_volume, bad_volume = (
    ls.log_volume(ls.Objective(net, train, "cross_entropy"), cutoffs=[0.5], estimator="auto", budget=60_000)
    for net in (good, bad)
)
for volume in (good_volume, bad_volume):
    print(volume.results[0].report)

# %% [markdown]
# ## The comparison
#
# `compare_volumes` says which basin is larger, and what the answer rests on. It does not decide if the intervals do
# not.

# %%
comparison = ls.compare_volumes(good_volume, bad_volume)
print(comparison)

# %% [markdown]
# There are two answers. *Metric* measures each basin relative to the size of the net's own weights. *Parameter*
# measures it in the space of weights itself. Say which one you used.
#
# A lower bound can show that a basin is the larger one. It cannot show that a basin is the smaller one. Two lower
# bounds decide nothing. [How to read a volume](../volume.md#comparing-two-nets) has the rules.
#
# ## Sharpness
#
# The measures of the literature are one more way to compare. Each comes with its error.

# %%
for name, net in {"good": good, "bad": bad}.items():
    print(name)
    print(ls.sharpness(ls.Objective(net, train, "cross_entropy")))

# %% [markdown]
# Two nets prove nothing about generalisation. For a claim, train a family of nets and rank the measures over all of
# it: [ranking measures](../ranking.md).
