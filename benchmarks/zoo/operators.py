"""Makes a package importable whose compiled operators were built for another build of torch."""

from __future__ import annotations

import torch

_OPERATORS = {
    "torchvision": (
        "nms",
        "qnms",
        "roi_align",
        "_roi_align_backward",
        "roi_pool",
        "_roi_pool_backward",
        "ps_roi_align",
        "_ps_roi_align_backward",
        "ps_roi_pool",
        "_ps_roi_pool_backward",
        "deform_conv2d",
        "_deform_conv2d_backward",
    )
}
_libraries: list[torch.library.Library] = []  # torch forgets what a library declared once it is gone


def declare_missing_operators(package: str) -> None:
    """Declare the operators of a package if its binary did not load: networks that do not call them then work."""
    try:
        __import__(package)
    except ModuleNotFoundError:
        return
    except RuntimeError:
        library = torch.library.Library(package, "DEF")
        for name in _OPERATORS[package]:
            library.define(f"{name}(Tensor x) -> Tensor")
        _libraries.append(library)
