"""What the zoo writes out for a torchvision whose compiled operators do not load."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.zoo.operators import suppressed


def overlap(a: list[float], b: list[float]) -> float:
    """Return the share of the union of two boxes that both cover."""
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def one_by_one(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -float(scores[i])):
        if all(overlap(boxes[i].tolist(), boxes[j].tolist()) <= threshold for j in kept):
            kept.append(i)
    return kept


def test_boxes_that_a_better_one_overlaps_are_left_out() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]])
    assert suppressed(boxes, torch.tensor([0.1, 0.9, 0.5]), 0.5).tolist() == [1, 2]


def test_the_same_boxes_are_kept_as_by_comparing_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator)
    boxes = torch.cat([corners, corners + 0.1 + 0.3 * torch.rand(60, 2, generator=generator)], 1)
    scores = torch.rand(60, generator=generator)
    kept = [suppressed(boxes, scores, threshold).tolist() for threshold in (0.1, 0.5)]
    assert kept == [one_by_one(boxes, scores, threshold) for threshold in (0.1, 0.5)]
    assert len(kept[0]) < len(kept[1]) < 60
