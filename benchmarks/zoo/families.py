"""The families of the zoo, in the order of the page."""

from __future__ import annotations

from importlib import import_module

from benchmarks.zoo.operators import declare_missing_operators
from benchmarks.zoo.trial import Build

FAMILIES = {
    "layers": "Every layer of torch.nn that has parameters",
    "small": "Networks of other kinds, written out",
    "losses": "Losses of other kinds",
    "variants": "Compiled, checkpointed, quantisation-aware, adapted and reparametrised networks",
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "graphs": "PyTorch Geometric",
    "trained": "Trained weights that ship inside packages",
}


def cases_of(family: str) -> dict[str, Build]:
    """Return the trials of a family by name; its module is loaded only now, since it may need another package."""
    declare_missing_operators("torchvision")
    return import_module(f"benchmarks.zoo.{family}").cases()
