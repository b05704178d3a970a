"""What ``core`` costs on a ResNet-20 with 256 CIFAR-10 images: the table of measures, passes and seconds.

python -m benchmarks.sharpness_cost
"""

from __future__ import annotations

import io
import time

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import landscape as ls
from benchmarks.nets import DATA, resnet20
from benchmarks.page import print_section
from benchmarks.resnet_cifar import imagenet_standardised
from landscape.results import Progress

IMAGES = 256


def images() -> tuple[Tensor, Tensor]:
    """Return 256 test images of CIFAR-10, kept as JPEG, and their classes."""
    with np.load(DATA / "cifar10_jpeg_test4000.npz") as data:
        jpeg, offset, label = data["jpeg"], data["offset"], data["label"]
    pixels = [np.asarray(Image.open(io.BytesIO(jpeg[offset[k] : offset[k + 1]].tobytes()))) for k in range(IMAGES)]
    scaled = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return imagenet_standardised(scaled).contiguous(), torch.from_numpy(label[:IMAGES]).long()


def section() -> list[str]:
    """Measure, and return the section."""
    published = resnet20()
    if published is None:
        return ["The published ResNet-20 is not here."]
    objective = ls.Objective(published[0], images())
    started = time.perf_counter()

    def report(now: Progress[ls.SharpnessTable]) -> None:
        measure = now.snapshot()[now.words]
        print(f"{now.words}: {measure.value:.6g} ± {measure.standard_error:.2g}, {measure.verdict}, "
              f"{measure.cost.evaluations:,.0f} passes, {measure.cost.seconds:.1f} s", flush=True)  # fmt: skip

    table = ls.sharpness(objective, "core", on_progress=report)
    seconds = time.perf_counter() - started
    return ["```text", *str(table).splitlines(), "```", "", f"{table.cost.evaluations:,.0f} passes in {seconds:.0f} s."]


if __name__ == "__main__":
    print_section(__doc__, section)
