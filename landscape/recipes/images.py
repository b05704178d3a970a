"""Image recipes: the standard public sets, a small residual network, and poison from images held out of training.

Nothing is downloaded: the files lie in a folder of yours, ``data/NAME`` by default. The training set is the first
``images`` images of the published training split, in an order of our own. The pool of true samples for the poison is
the rest of that split; for SVHN it is the ``extra`` split, as in Huang et al. (2019). The test split is never in the
pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import TaskError
from landscape.inputs import Task
from landscape.objective.digest import digest
from landscape.rays.streams import Purpose
from landscape.recipes.cnn import cnn
from landscape.recipes.dense import given
from landscape.recipes.image_files import Images, read_cifar, read_folder, read_idx_pair, read_npz, read_svhn
from landscape.recipes.resnet import MODELS as RESNETS
from landscape.recipes.resnet import resnet
from landscape.training import Member, MinibatchSettings, MinibatchTraining, Problem
from landscape.training.problem import Pair, draws
from landscape.training.settings import MINIBATCH_PHASES

SETTINGS = MinibatchSettings(
    steps=1600,
    phases=MINIBATCH_PHASES,
    clip=8.0,
    fitted=0.01,
    settled=0.0,
    window=100,
    batch=256,
)
MODELS = (*RESNETS, "cnn")
_CLASSES = 10  # of every set here


@dataclass(frozen=True)
class ImageRecipe:
    """A recipe for one public set of images.

    Attributes:
        name: what it is called.
        files: split -> its standard files; IDX files may be compressed, with ``.gz``.
        kind: how they are read: ``idx``, ``cifar`` or ``svhn``.
        source: where a user gets the files.
        mirrors: whether augmentation mirrors images too: not for digits.
    """

    name: str
    files: Mapping[str, tuple[str, ...]]
    kind: str
    source: str
    mirrors: bool = False

    NETS_TOGETHER = 1

    def task(
        self, seed: int, data: str, images: int, model: str, channels: int, digest: str, width: int | None = None
    ) -> Task:
        """Return the task that a checkpoint belongs to: the untrained network and the training images.

        Raises:
            TaskError: if the images are missing, or are not the images that the network was trained on.
        """
        folder = Path(data) if os.path.isdir(data) else self.default_folder()
        train = _chosen(self.read(folder, "train"), slice(images))
        if _digest(train) != digest:
            raise TaskError(
                f"the images in {folder} are not the images that the checkpoint was trained on.\n"
                "Put the files of its training there, or say what the checkpoint is: `task='my_task.py'`."
            )
        network = network_of(model, width, channels)(seed)
        return Task(network, _scaled(train, *_scale(train)), "cross_entropy", name=f"{self.name}, seed {seed}")

    def training(
        self,
        members: Sequence[Member],
        *,
        model: str = "resnet8",
        width: int | None = None,
        lr: float | None = None,
        batch: int | None = None,
        weight_decay: float | None = None,
        optimiser: str | None = None,
        augment: int = 0,
        steps: int | None = None,
        epochs: int | None = None,
        until_loss: float | None = None,
        images: int = 2000,
        data: str | None = None,
        device: str = "cpu",
    ) -> MinibatchTraining:
        """Begin the training of one network.

        Args:
            members: one seed and poison factor.
            model: one of :data:`MODELS`.
            width: channels of the first convolution or stage; 16 by default.
            lr: the highest learning rate; 0.003 by default.
            batch: images per step; 256 by default.
            weight_decay, steps, until_loss: see :meth:`landscape.training.Settings.changed`.
            optimiser: ``adam`` or ``sgd``.
            augment: each step shifts each image at random by up to this many pixels, and mirrors half of them if the
                recipe allows it. Losses and accuracies are measured on the images as they are.
            epochs: passes over the training set at most, instead of ``steps``.
            images: size of the training set.
            data: folder of the files; ``data/NAME`` in the working folder by default.
            device: the device that computes.

        Raises:
            TaskError: if files are missing, or an option is out of range.
        """
        folder = Path(os.path.expanduser(data)) if data else self.default_folder()
        problem = self.problem(folder, images, model, width)
        if augment < 0:
            raise TaskError(f"images are shifted by 0 pixels or more, not {augment}. Pass `augment=2`.")
        if augment:
            problem = replace(problem, augment=partial(shifted, most=augment, mirror=self.mirrors))
        settings = SETTINGS.changed(steps=steps, lr=lr, weight_decay=weight_decay, until_loss=until_loss)
        settings = settings.minibatch(batch, optimiser, epochs, images, steps)
        return MinibatchTraining(problem, members, settings, device)

    def problem(self, folder: Path, images: int, model: str, width: int | None = None) -> Problem:
        """Return the images in a folder and the network."""
        whole, test = self.read(folder, "train"), self.read(folder, "test")
        if not 1 <= images <= len(whole.targets):
            most = len(whole.targets)
            raise TaskError(f"the training split has {most:,} images, not {images:,}. Pass `images={most}` or fewer.")
        train, rest = _chosen(whole, slice(images)), _chosen(whole, slice(images, None))
        scale = _scale(train)
        channels = train.inputs.shape[1]
        args = {"images": images, "model": model, "channels": channels, "digest": _digest(train), **given(width=width)}
        pool = self.pool(folder, rest)
        return Problem(
            network_of(model, width, channels),
            train=_scaled(train, *scale),
            test=_scaled(test, *scale),
            fresh=partial(_fresh, pool, scale) if pool is not None else None,
            loss="cross_entropy",
            name=self.name,
            record={"recipe": self.name, "args": {"data": str(folder.resolve()), **args}},
        )

    def pool(self, folder: Path, rest: Images) -> Images | None:
        """Return true samples for the poison: the extra split if there is one, else the rest, else None."""
        if "extra" in self.files and self.find(folder, "extra"):
            return self.read(folder, "extra")
        return rest if len(rest.targets) else None

    def default_folder(self) -> Path:
        """Return the folder of the files if none is named: ``data/NAME`` in the working folder."""
        return Path("data") / self.name

    def find(self, folder: Path, split: str) -> list[Path]:
        """Return the files of a split: the standard files, else ``SPLIT.npz``, else the folder ``SPLIT``, else []."""
        paths = []
        for name in self.files[split]:
            candidates = [folder / name, folder / f"{name}.gz", folder / "cifar-10-batches-py" / name]
            paths += [path for path in candidates if os.path.isfile(path)][:1]
        if len(paths) == len(self.files[split]):
            return paths
        return next(([path] for path in (folder / f"{split}.npz", folder / split) if os.path.exists(path)), [])

    def read(self, folder: Path, split: str) -> Images:
        """Return the images of a split.

        Raises:
            TaskError: if a file is damaged or missing; the message says where to get it and where to put it.
        """
        paths = self.find(folder, split)
        if not paths:
            raise TaskError(
                f"the recipe {self.name} needs {', '.join(self.files[split])} in the folder {folder}, but "
                f"{'they are' if len(self.files[split]) > 1 else 'it is'} not there.\n"
                f"Get the files from {self.source}, and put them there or name their folder with `data=...`.\n"
                f"For images of your own, put {split}.npz (inputs, targets) or {split}/CLASS/*.png into that folder."
            )
        return _read(self.kind, tuple(paths), tuple(path.stat().st_mtime_ns for path in paths))


def network_of(model: str, width: int | None, channels: int) -> Callable[[int], nn.Module]:
    """Return seed -> untrained network.

    Raises:
        TaskError: if there is no such model, or the width is below 1.
    """
    if model not in MODELS:
        raise TaskError(f"there is no model {model!r}; the models are {', '.join(MODELS)}.")
    if width is not None and width < 1:
        raise TaskError(f"expected a width of at least 1, got {width}. Pass `width=16`.")
    make = cnn if model == "cnn" else partial(resnet, model)
    return partial(make, channels=channels, classes=_CLASSES, **given(width=width))


def shifted(images: Tensor, random: np.random.Generator, *, most: int, mirror: bool) -> Tensor:
    """Return each image shifted by up to ``most`` pixels along both axes, and half of them mirrored if ``mirror``.

    Pixels that come in from outside are 0, the mean of the scaled images. Shapes (N, C, H, W).

    >>> many = torch.tensor([[[[1.0, 2.0]]]]).expand(99, -1, -1, -1)
    >>> sorted(set(map(tuple, shifted(many, draws(0, Purpose.AUGMENT), most=0, mirror=True)[:, 0, 0].tolist())))
    [(1.0, 2.0), (2.0, 1.0)]
    """
    count, _, height, width = images.shape
    offsets = torch.from_numpy(random.integers(0, 2 * most + 1, size=(2, count, 1)))
    rows, columns = (offset + torch.arange(size) for offset, size in zip(offsets, (height, width), strict=True))
    if mirror:
        turned = torch.from_numpy(random.random((count, 1)) < 0.5)
        columns = torch.where(turned, columns.flip(1), columns)
    padded = F.pad(images, (most,) * 4)
    each = torch.arange(count)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


@cache
def _read(kind: str, paths: tuple[Path, ...], _: tuple[int, ...]) -> Images:
    """Read the files of a split, only once as long as they do not change: a sweep asks again and again."""
    if paths[0].is_dir():
        return read_folder(paths[0])
    if paths[0].suffix == ".npz":
        return read_npz(paths[0])
    if kind == "idx":
        return read_idx_pair(*paths)
    parts = [(read_svhn if kind == "svhn" else read_cifar)(path) for path in paths]
    return Images(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _chosen(images: Images, part: slice) -> Images:
    """Return a part of the images in a fixed random order: files are often sorted by class."""
    order = draws(0, Purpose.TRAIN_DATA).permutation(len(images.targets))[part]
    return Images(images.inputs[order], images.targets[order])


def _digest(images: Images) -> str:
    return digest(images.inputs, images.targets)[:16]


def _scale(images: Images) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each channel, of pixels from 0 to 1."""
    pixels = images.inputs / np.float64(255)
    mean, deviation = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    as_image = [torch.from_numpy(part).float()[:, None, None] for part in (mean, deviation.clip(1e-3))]
    return as_image[0], as_image[1]


def _scaled(images: Images, mean: Tensor, deviation: Tensor) -> Pair:
    return (torch.from_numpy(images.inputs).float() / 255 - mean) / deviation, torch.from_numpy(images.targets)


def _fresh(pool: Images, scale: tuple[Tensor, Tensor], seed: int, index: int, count: int) -> Pair:
    """Return samples drawn from the pool, keyed by (seed, index)."""
    chosen = draws(seed, Purpose.FRESH, index).integers(len(pool.targets), size=count)
    return _scaled(Images(pool.inputs[chosen], pool.targets[chosen]), *scale)


_IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MNIST = ImageRecipe(
    "mnist", _IDX, "idx", "https://storage.googleapis.com/cvdf-datasets/mnist/ (four files, plain or .gz)"
)
FASHION_MNIST = ImageRecipe(
    "fashion-mnist",
    _IDX,
    "idx",
    "https://github.com/zalandoresearch/fashion-mnist (four files, plain or .gz)",
    mirrors=True,
)
CIFAR10 = ImageRecipe(
    "cifar10",
    {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)},
    "cifar",
    "https://www.cs.toronto.edu/~kriz/cifar.html (the python version, unpacked)",
    mirrors=True,
)
SVHN = ImageRecipe(
    "svhn",
    {split: (f"{split}_32x32.mat",) for split in ("train", "test", "extra")},
    "svhn",
    "http://ufldl.stanford.edu/housenumbers (format 2; extra_32x32.mat too, for the poison)",
)
