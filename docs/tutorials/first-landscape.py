# %% [markdown]
# # Your first landscape
#
# You train a small network, and measure how large the region of low loss around it is. That takes a few seconds.
#
# ## A network to measure
#
# The task: is a point in the plane outside a circle?

# %%
import torch
from torch import nn

torch.manual_seed(0)
points = torch.randn(400, 2)
outside = (points.norm(dim=1) > 1.2).long()

model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(600):
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(points), outside).backward()
    optimiser.step()

# %% [markdown]
# ## The loss as a function of the weights
#
# An `Objective` puts the network, its data and its loss together. Everything else starts from it. Your model is not
# changed by any measurement.

# %%
import landscape as ls

objective = ls.Objective(model, (points, outside), "cross_entropy")
print(f"loss {objective.centre:.4f}, accuracy {objective.accuracy():.1%}")
print(f"{objective.dimension} weights may move")

# %% [markdown]
# ## A slice
#
# A slice is the loss on a plane through the trained point, along two random directions. In the metric `filter`, a
# step of 1 changes each filter by about its own size.

# %%
plane = ls.slice_2d(objective, steps=31)
plane.plot()

# %% [markdown]
# Two random directions show little of a space of many dimensions. So the next step takes many directions.
#
# ## The radii of the basin
#
# A *ray* leaves the trained point in a random direction. Its *radius* is the distance at which the loss first
# reaches a cutoff. The points within the radii are the *basin*. Here are 500 rays, and the cutoffs 0.2 and 0.5.

# %%
radii = ls.basin_radii(objective, cutoffs=[0.2, 0.5], directions=500)
radii.plot()

# %% [markdown]
# ## The volume of the basin
#
# The radii give the volume. It is written as *nats below the ball*. 0 is the whole ball of radius 1, and 2.3 nats
# more are a tenth of the volume.

# %%
volume = ls.volume_from_radii(radii)
volume

# %% [markdown]
# Read the table from left to right:
#
# - the **cutoff** that bounds the basin;
# - how far its volume lies **below the ball**, with a 95 % interval;
# - the **verdict**: how far you can trust the number.
#
# Few rays out of 500 are long, and the long ones carry nearly all of the volume. If too few of them were met, the
# verdict is `lower bound`: the volume is at least this large. Another estimator then walks to the long rays.

# %%
better = ls.log_volume(objective, cutoffs=[0.2, 0.5], budget=20_000, directions=500)
for row in better.results:
    print(row.report)

# %% [markdown]
# These sentences are what to quote. Each names everything that the number depends on.
#
# ## Keep it
#
# One file holds all results. `landscape show run.h5` and `landscape plot run.h5` read it again. `to_frame()` turns a
# result into a pandas table, with units in the names of its columns. pandas comes with
# `pip install 'landscape-lab[notebook]'`.

# %%
with ls.Store("run.h5", write=True) as store:
    store["radii"] = radii
    store["volume"] = better

better.to_frame()[["cutoff", "nats_below_ball", "bound_nats", "verdict"]]

# %% [markdown]
# Next: [your own checkpoint](own-checkpoint.md), [comparing nets](comparing-nets.md), or [how to read a
# volume](../volume.md).
