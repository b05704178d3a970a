"""Networks of torchvision with random weights, on small inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo.trial import Build, Trial, classifier

CLASSIFIERS = {
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
}
VIDEO = ("mc3_18", "r3d_18", "r2plus1d_18")
SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
DETECTION = ("retinanet_resnet50_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large")


def cases() -> dict[str, Build]:
    """Return a trial for each network."""
    from torchvision import models

    def build(name: str, **options: Any) -> nn.Module:
        torch.manual_seed(0)
        found: dict[str, Any] = {"weights": None, **options}
        if name == "googlenet":
            found |= {"init_weights": False, "aux_logits": False}
        return models.get_model(name, **found).eval()

    def video(name: str) -> Trial:
        return classifier(build(name, num_classes=3), torch.randn(2, 3, 4, 32, 32), 3)

    def segmentation(name: str) -> Trial:
        model = build(name, num_classes=3, weights_backbone=None)
        batch = torch.randn(2, 3, 64, 64), torch.randint(0, 3, (2, 64, 64))
        return Trial(
            model,
            batch,
            nn.CrossEntropyLoss(),
            lambda m, b: F.cross_entropy(m(b[0])["out"], b[1]),
            forward=lambda m, b: m(b[0])["out"],
        )

    makers: dict[str, Callable[[str], Trial]] = {
        name: lambda name, size=size: classifier(build(name, num_classes=3), torch.randn(2, 3, size, size), 3)  # type: ignore[misc]
        for name, size in CLASSIFIERS.items()
    }
    makers |= dict.fromkeys(VIDEO, video) | dict.fromkeys(SEGMENTATION, segmentation)

    def detector(name: str) -> Trial:
        return detection(build(name, num_classes=4, weights_backbone=None, **sizes_of(name)))

    makers |= dict.fromkeys(DETECTION, detector)
    return {name: lambda name=name, make=make: make(name) for name, make in makers.items()}  # type: ignore[misc]


def sizes_of(name: str) -> dict[str, int]:
    """Return options for small pictures; a single-shot detector has one size."""
    return {} if name.startswith("ssd") else {"min_size": 64, "max_size": 64}


def detection(model: nn.Module) -> Trial:
    """Return a trial of a detector, which returns its losses in training mode only."""
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    targets = [
        {"boxes": torch.tensor([[4.0, 4.0, 40.0, 50.0]]), "labels": torch.tensor([1 + i])} for i in range(len(images))
    ]
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0

    def losses(net: nn.Module, batch: Any) -> Tensor:
        return sum(net(*batch).values())

    return Trial(model, (images, targets), lambda output, _: output, losses, forward=losses, options={"training": True})
