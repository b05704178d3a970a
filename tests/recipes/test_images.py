"""Image recipes on small made files of the standard forms, and on the real SVHN crops."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import io

import landscape as ls
from helpers.commands import landscape
from helpers.shared_data import shared_data
from landscape.rays.streams import Purpose
from landscape.recipes import task_from_record
from landscape.recipes.images import CIFAR10, MNIST, SVHN, shifted
from landscape.resolve import resolve_task
from landscape.training import Member
from landscape.training.problem import draws


def pixels(seed: int, count: int, size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with the class in its first row; (N, C, H, W)."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 10, count)
    images = random.integers(0, 100, (count, channels, size, size), dtype=np.uint8)
    images[np.arange(count), 0, 0, targets] = 255
    return images, targets


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name, count in ((0, "train", 60), (1, "t10k", 30)):
        images, targets = pixels(seed, count, 12, 1)
        for what, array in (("images-idx3", images[:, 0]), ("labels-idx1", targets)):
            path = folder / f"{name}-{what}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))


def write_cifar(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        images, targets = pixels(seed, 12, 32, 3)
        content = {b"data": images.reshape(12, -1), b"labels": targets.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def write_svhn(folder: Path, extra: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate({"train": 40, "test": 16, "extra": extra}.items()):
        images, targets = pixels(seed, max(count, 1), 32, 3)
        if count:
            content = {"X": images.transpose(2, 3, 1, 0), "y": np.where(targets == 0, 10, targets)[:, None]}
            io.savemat(folder / f"{name}_32x32.mat", content)


def test_the_pool_is_neither_trained_nor_tested_on(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    problem = MNIST.problem(tmp_path, 25, "resnet8")
    assert problem.fresh is not None
    fresh = problem.fresh(0, 0, 2000)[0]
    train, test, pool = (
        {image.numpy().tobytes() for image in part} for part in (problem.train[0], problem.test[0], fresh)
    )
    assert (len(train), len(test), len(pool)) == (25, 30, 35)
    assert not train & pool
    assert not test & (train | pool)
    assert torch.equal(problem.fresh(0, 5, 8)[0], problem.fresh(0, 5, 8)[0])
    assert not torch.equal(problem.fresh(0, 5, 8)[0], problem.fresh(1, 5, 8)[0])
    whole = MNIST.problem(tmp_path, 60, "resnet8")
    assert whole.fresh is None
    assert whole.train[0].mean().abs() < 1e-5
    assert whole.train[0].std() == pytest.approx(1, abs=1e-3)


def test_compressed_files_are_the_same(tmp_path: Path) -> None:
    write_mnist(tmp_path / "plain")
    write_mnist(tmp_path / "packed", packed=True)
    first, second = (MNIST.problem(tmp_path / name, 25, "resnet8") for name in ("plain", "packed"))
    assert torch.equal(first.train[0], second.train[0])


def test_svhn_takes_its_poison_from_the_extra_split(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    problem = SVHN.problem(tmp_path, 40, "resnet8-bn")
    assert problem.fresh is not None
    mean, deviation = problem.train[0].mean(), 0.05
    extra = pixels(2, 20, 32, 3)
    assert len({image.numpy().tobytes() for image in problem.fresh(0, 0, 500)[0]}) == 20
    assert set(problem.fresh(0, 0, 500)[1].tolist()) == set(extra[1].tolist())
    assert abs(mean) < deviation
    write_svhn(tmp_path / "two", extra=0)
    assert SVHN.problem(tmp_path / "two", 40, "resnet8").fresh is None
    assert SVHN.problem(tmp_path / "two", 30, "resnet8").fresh is not None


def test_images_of_ones_own_go_in_as_npz_or_as_folders(tmp_path: Path) -> None:
    images, targets = pixels(0, 30, 12, 3)
    flat = images.transpose(0, 2, 3, 1)
    np.savez(tmp_path / "train.npz", inputs=flat, targets=targets)
    for number, (image, target) in enumerate(zip(flat, targets, strict=True)):
        folder = tmp_path / "test" / str(target)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    problem = CIFAR10.problem(tmp_path, 30, "resnet8")
    train, test = (sorted(image.sum().item() for image in part[0]) for part in (problem.train, problem.test))
    assert train == pytest.approx(test, abs=1e-3)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "svhn"])
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = landscape("train", name, "--out", "ckpt.pt")
    assert done.exit_code == 2
    assert "http" in done.output
    assert str(Path("data") / name) in done.output
    assert "with --data" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "write", "model"),
    [("mnist", write_mnist, "resnet8-bn"), ("cifar10", write_cifar, "resnet8"), ("svhn", write_svhn, "resnet8")],
)
def test_train_then_measure(name: str, write: object, model: str, tmp_path: Path) -> None:
    """The checkpoint needs nothing else, wherever one stands."""
    write(tmp_path / "files")  # type: ignore[operator]
    out = tmp_path / "ckpt.pt"
    words = ["train", name, "--data", tmp_path / "files", "--images", 24, "--steps", 3, "--poison", 0.3, "--out", out]
    words += ["--model", model]
    found = json.loads(landscape(*words, "--json", "-q").stdout)
    assert (found["steps"], found["poison"]) == (3, 0.3)
    task, _ = resolve_task(out)
    assert ls.Objective(task.model, task.data, task.loss).centre == pytest.approx(found["train_loss"], rel=1e-4)
    assert landscape("radius", out, "--cutoff", 20, "--directions", 2, "-q").exit_code == 0


def test_a_checkpoint_whose_images_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_mnist(tmp_path / "files")
    training = MNIST.training([Member(0)], data=str(tmp_path / "files"), images=24, steps=1)
    record = training.run()[0].record
    assert record is not None
    assert len(task_from_record(record).data[1]) == 24
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    with pytest.raises(ls.LandscapeError, match="put them there"):
        task_from_record(record)
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "data" / "mnist")  # the standard place, from which a copy works too
    assert len(task_from_record(record).data[1]) == 24
    content = bytearray((tmp_path / "data/mnist/train-images-idx3-ubyte").read_bytes())
    content[-100:] = bytes(100)
    (tmp_path / "data/mnist/train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ls.LandscapeError, match="not the images"):
        task_from_record({**record, "args": {**record["args"], "images": 60}})


def test_options_of_other_recipes_and_out_of_range(tmp_path: Path) -> None:
    write_mnist(tmp_path / "files")
    for words, expected in (
        (["swiss-roll", "--images", 5], "takes no --images"),
        (["mnist", "--data", tmp_path / "files", "--images", 61], "--images 60 or fewer"),
        (["mnist", "--data", tmp_path / "files", "--images", 5, "--model", "resnet9"], "the models are resnet8"),
        (["mnist", "--data", tmp_path / "files", "--images", 60, "--poison", 0.1], "mnist has none"),
    ):
        done = landscape("train", *words, "--out", tmp_path / "a.pt")
        assert done.exit_code == 2
        assert expected in done.output


def test_real_crops_through_the_svhn_recipe(tmp_path: Path) -> None:
    """The 42 crops as training, test and extra files, trained for a few steps."""
    with np.load(shared_data("svhn_micro42.npz")) as archive:
        crops, digits = archive["X"], archive["Y"]
    for name, part in (("train", slice(0, 20)), ("test", slice(20, 30)), ("extra", slice(30, 42))):
        labels = np.where(digits[part] == 0, 10, digits[part])[:, None]
        io.savemat(tmp_path / f"{name}_32x32.mat", {"X": crops[part].transpose(1, 2, 3, 0), "y": labels})
    training = SVHN.training([Member(0, 0.3)], data=str(tmp_path), images=20, steps=80)
    before = training.status().summaries[0].train_loss
    summary = training.run()[0].summary
    assert summary.train_loss < 0.5 * before
    assert summary.train_accuracy > 0.8


def test_width_model_and_augmentation_are_keywords(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    training = CIFAR10.training(
        [Member(0)], data=str(tmp_path), images=40, model="cnn", width=4, augment=2, batch=10, epochs=2, lr=0.01
    )
    assert training.settings.steps == 8
    stored = training.run()[0].checkpoint()
    assert stored["state_dict"]["0.weight"].shape == (4, 3, 3, 3)
    task = task_from_record(stored["landscape_task"])
    task.model.load_state_dict(stored["state_dict"])
    assert stored["landscape_task"]["args"]["width"] == 4
    wide = CIFAR10.problem(tmp_path, 40, "resnet8", 5).network(0)
    assert wide.state_dict()["conv.weight"].shape == (5, 3, 3, 3)
    for changes, words in (({"width": 0}, "width=16"), ({"augment": -1}, "augment=2"), ({"model": "vit"}, "cnn")):
        with pytest.raises(ls.LandscapeError, match=words):
            CIFAR10.training([Member(0)], data=str(tmp_path), images=40, **changes)  # type: ignore[arg-type]


def test_augmentation_shifts_and_mirrors_whole_images() -> None:
    images = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5) + 1
    many = shifted(images[:1].expand(300, -1, -1, -1), draws(0, Purpose.AUGMENT, 0), most=1, mirror=True)
    padded = torch.nn.functional.pad(images[0], (1, 1, 1, 1))
    expected = {
        part.numpy().tobytes()
        for row in range(3)
        for column in range(3)
        for window in [padded[:, row : row + 4, column : column + 5]]
        for part in (window.contiguous(), window.flip(2).contiguous())
    }
    assert {image.numpy().tobytes() for image in many} == expected
    assert len(expected) == 18
    plain = shifted(images, draws(0, Purpose.AUGMENT, 0), most=0, mirror=False)
    assert torch.equal(plain, images)
    assert CIFAR10.mirrors
    assert not MNIST.mirrors
