# %% [markdown]
# # Your own checkpoint
#
# You have a file with trained weights. You also need three things that it does not say: the network, the data and the
# loss. This page plays both parts. It writes a file, and then measures it.
#
# ## The file

# %%
import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
points = torch.randn(300, 2)
labels = (points.prod(dim=1) > 0).long()


def make_net(width: int = 12) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))


model = make_net()
optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
for _ in range(300):
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(points), labels).backward()
    optimiser.step()

state = {"epoch": 300, "state_dict": model.state_dict(), "optimizer": optimiser.state_dict()}
torch.save(state, "ckpt.pt")
np.savez("data.npz", inputs=points, targets=labels)

# %% [markdown]
# ## From Python
#
# `from_checkpoint` finds the weights in the file. It skips optimiser states and counters. Name the rest.

# %%
import landscape as ls

rest = {"data": "data.npz", "loss": "cross_entropy"}
objective = ls.Objective.from_checkpoint("ckpt.pt", model=make_net, **rest)
print(objective.origin.form)
print(f"loss {objective.centre:.4f}, accuracy {objective.accuracy():.1%}")

# %% [markdown]
# Always look at the loss and the accuracy first. If they are not those of your training, then the data are not prepared
# in the same way, or the loss is another one.
#
# If the network does not fit the file, an error says what differs and what to type.

# %%
try:
    ls.Objective.from_checkpoint("ckpt.pt", model=make_net, model_args={"width": 16}, **rest)
except ls.LandscapeError as error:
    print(error)

# %% [markdown]
# Now measure. At a trained point the loss bends sharply in a few directions, and hardly in the others:

# %%
hessian = ls.Hessian(objective, metric="filter")
ls.top_eigenpairs(hessian, k=3)

# %%
volume = ls.log_volume(objective, cutoffs=[0.5], budget=60_000)
print(volume.results[0].report)

# %% [markdown]
# ## From the command line
#
# The same from a shell. Put the code that makes the network into a file, and name it.

# %%
with open("nets.py", "w") as file:
    file.write("""
from torch import nn

def make_net(width=12):
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))
""")

# %% [markdown]
# `doctor` looks before anything is measured. It says what is in the file, whether the loss can be measured, and what a
# run costs.

# %%
# !landscape doctor ckpt.pt --model nets.py:make_net --data data.npz --loss cross_entropy

# %% [markdown]
# To say it only once, write it into a `landscape.toml` in the folder of the checkpoint. Then
# `landscape volume ckpt.pt --out run.h5` is enough.
#
# ```toml
# model = "nets.py:make_net"
# data = "data.npz"
# loss = "cross_entropy"
# ```
#
# [Checkpoints](../checkpoints.md) lists the forms of files that are read, and how to name other losses and forward
# functions.
