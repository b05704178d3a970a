"""Import lightning and transformers beside a torchvision whose compiled part does not fit torch.

Both import torchvision if it is installed. A build of torchvision for CUDA fails beside a build of torch for CPUs, and
nothing in these tests uses it.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from typing import Any

_kept: list[Any] = []  # a library of operators lives as long as its object


def mend_torchvision() -> None:
    """Make ``import torchvision`` work without its compiled operators, if it does not work with them.

    Each operator whose lack stops the import is declared, without code.
    """
    while True:
        try:
            import_module("torchvision")
            return
        except ImportError:
            return
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing[1]}(Tensor boxes) -> Tensor")
            _kept.append(library)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
