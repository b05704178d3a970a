# %% [markdown]
# # Comparing nets
#
# Two networks fit the same data. One generalises, and the other does not. Which basin is larger, and can the numbers
# tell?
#
# ## Two networks
#
# Both see the same 60 points with the right labels. The second also sees 40 points with wrong labels, so it has to
# bend around them. This is how Huang et al. (2019) make minima that generalise badly.

# %%
import torch
from torch import nn

import landscape as ls

torch.manual_seed(0)


def ring(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    points = 1.5 * torch.randn(count, 2)
    return points, (points.norm(dim=1) > 1.7).long()


train, (poison, right), test = ring(60), ring(40), ring(2000)


def trained(points: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 40), nn.ReLU(), nn.Linear(40, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(2000):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(points), labels).backward()
        optimiser.step()
    return net


good = trained(*train)
bad = trained(torch.cat([train[0], poison]), torch.cat([train[1], 1 - right]))

good_objective, bad_objective = (ls.Objective(net, train, "cross_entropy") for net in (good, bad))
for name, net, objective in [("good", good, good_objective), ("bad", bad, bad_objective)]:
    on_test = ls.Objective(net, test, "cross_entropy").accuracy()
    print(f"{name}: loss {objective.centre:.4f}, accuracy {objective.accuracy():.1%}")
    print(f"    accuracy on new points {on_test:.1%}")

# %% [markdown]
# ## Their volumes
#
# Both are measured on the same training data, up to the same cutoff. The estimator `counted` draws points in the
# ball of radius 1, and counts those that lie in the basin.

# %%
volumes = [
    ls.log_volume(objective, cutoffs=[0.5], estimator="counted", budget=40_000)
    for objective in (good_objective, bad_objective)
]
for volume in volumes:
    row = volume.results[0]
    print(row.report)
    print(f"at most exp({row.upper_bound - row.log_cap_ball:.1f}) of the ball\n")

# %% [markdown]
# The first basin has an interval. The second basin was never hit, so nothing bounds it from below. But a large basin
# would have been hit. So the count bounds it from above.
#
# ## The comparison
#
# `compare_volumes` says which basin is larger, and what the answer rests on. If the intervals do not decide, it says
# that too.

# %%
comparison = ls.compare_volumes(*volumes)
print(comparison)

# %% [markdown]
# Each cutoff has two answers. *Metric* measures each basin relative to the size of the net's own weights.
# *Parameter* measures it in the space of weights itself. Say which one you used.
#
# A lower bound can show that a basin is the larger one. It cannot show that a basin is the smaller one. Two lower
# bounds decide nothing. [How to read a volume](../volume.md#comparing-two-nets) has the rules.
#
# ## Sharpness
#
# The measures of the literature are another way to compare. Each comes with its error.

# %%
for name, objective in [("good", good_objective), ("bad", bad_objective)]:
    print(name)
    print(ls.sharpness(objective, ["average-case", "lambda-max", "trace", "path-norm"]))

# %% [markdown]
# Two nets prove nothing about generalisation. For a claim, train a family of nets and rank the measures over all of
# it: [ranking measures](../ranking.md).
