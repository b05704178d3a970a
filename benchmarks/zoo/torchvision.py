"""Networks of torchvision with random weights, on small inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo.trial import Build, Trial, classifier

CLASSIFIERS = {
    "alexnet": 64,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "inception_v3": 80,
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
VIDEO = {"mc3_18": (4, 32), "r3d_18": (4, 32), "r2plus1d_18": (4, 32), "swin3d_t": (4, 32)}
SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large")
DETECTION = (
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
)


def cases() -> dict[str, Build]:
    """Return a trial for each network."""
    from torchvision import models

    def build(name: str, **options: Any) -> nn.Module:
        torch.manual_seed(0)
        found: dict[str, Any] = {"weights": None, **options}
        if name in ("googlenet", "inception_v3"):
            found |= {"init_weights": False, "aux_logits": False}
        return models.get_model(name, **found).eval()

    def video(name: str) -> Trial:
        frames, size = VIDEO[name]
        return classifier(build(name, num_classes=3), torch.randn(2, 3, frames, size, size), 3)

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
        classes = 2 if name.startswith("keypoint") else 4
        return detection(name, build(name, num_classes=classes, weights_backbone=None, **sizes_of(name)))

    makers |= dict.fromkeys(DETECTION, detector)
    makers |= {"vision_transformer": lambda _: transformer(), "raft_small": lambda name: flow(build(name))}
    return {name: lambda name=name, make=make: make(name) for name, make in makers.items()}  # type: ignore[misc]


def transformer() -> Trial:
    """Return a trial of the class behind ``vit_b_16``, with a few small layers."""
    from torchvision.models import VisionTransformer

    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128}
    return classifier(VisionTransformer(**sizes, num_classes=3).eval(), torch.randn(2, 3, 32, 32), 3)


def flow(model: nn.Module) -> Trial:
    """Return a trial of optical flow: each step of the net gives a field, and later fields weigh more."""

    def loss(fields: list[Tensor], target: Tensor) -> Tensor:
        weights = [0.8 ** (len(fields) - 1 - i) for i in range(len(fields))]
        errors = torch.stack([(field - target).abs().mean() for field in fields])
        return errors @ torch.tensor(weights).to(errors)

    def fields(net: nn.Module, batch: Any) -> Any:
        return net(batch[0], batch[1], num_flow_updates=2)

    batch = torch.rand(2, 3, 128, 128), torch.rand(2, 3, 128, 128), torch.rand(2, 2, 128, 128)
    return Trial(model, batch, loss, lambda m, b: loss(fields(m, b), b[2]), forward=fields)


def sizes_of(name: str) -> dict[str, int]:
    """Return options for small pictures and few boxes; a single-shot detector has one size."""
    if name.startswith("ssd"):
        return {}
    few = {"rpn_pre_nms_top_n_train": 200, "rpn_post_nms_top_n_train": 8, "box_batch_size_per_image": 8}
    return {"min_size": 64, "max_size": 64, **(few if "rcnn" in name else {})}


def detection(name: str, model: nn.Module) -> Trial:
    """Return a trial of a detector, which returns its losses in training mode only.

    A net of two stages draws its training boxes at random. So each forward pass begins with the same seed.
    """
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    box = torch.tensor([[4.0, 4.0, 40.0, 50.0]])
    targets = [{"boxes": box, "labels": torch.tensor([1 if name.startswith("keypoint") else 1 + i])} for i in range(2)]
    for target in targets:
        if name.startswith("mask"):
            target["masks"] = torch.ones(1, 64, 64, dtype=torch.uint8)
        if name.startswith("keypoint"):
            target["keypoints"] = torch.tensor([[[10.0 + i, 12.0 + i, 1.0] for i in range(17)]])
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0

    def losses(net: nn.Module, batch: Any) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return sum(net(*batch).values())

    return Trial(model, (images, targets), lambda output, _: output, losses, forward=losses, options={"training": True})
