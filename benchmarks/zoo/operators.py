"""Makes a package importable whose compiled operators were built for another build of torch."""

from __future__ import annotations

import sys
from types import ModuleType

import torch
from torch import Tensor

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
    """Declare the operators of a package if its binary did not load: networks that do not call them then work.

    torchvision writes pooling of regions out in Python by itself; its suppression of overlapping boxes stands here.
    """
    try:
        __import__(package)
    except ModuleNotFoundError:
        return
    except RuntimeError:
        library = torch.library.Library(package, "DEF")
        for name in _OPERATORS[package]:
            library.define(f"{name}(Tensor x) -> Tensor")
        _libraries.append(library)
        __import__(package)
        sys.modules[f"{package}.ops.boxes"].nms = suppressed  # type: ignore[attr-defined]
        pooling = sys.modules[f"{package}.ops.roi_align"]
        pooling._roi_align = pooling._roi_align.__wrapped__  # type: ignore[attr-defined]  # compiling takes a minute


def stand_in_for(package: str) -> None:
    """Make an absent package importable, if another one imports it for what the zoo does not call."""
    try:
        __import__(package)
    except (ImportError, OSError):
        sys.modules[package] = ModuleType(package)


def suppressed(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the boxes that no box of a higher score overlaps, best first, as ``torchvision.ops.nms`` does.

    Args:
        boxes: left, top, right and bottom, shape (N, 4).
        scores: shape (N,).
        iou_threshold: overlaps beyond it, as a share of the union, suppress the lower score.

    Returns:
        Indices into the boxes, int64.
    """
    low, high = boxes.detach().split(2, dim=1)
    areas = (high - low).prod(1)
    common = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp_min(0).prod(2)
    overlaps = common > iou_threshold * (areas[:, None] + areas - common)
    kept: list[int] = []
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not gone[i]:
            kept.append(i)
            gone |= overlaps[i]
    return torch.tensor(kept, dtype=torch.int64)
