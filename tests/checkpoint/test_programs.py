"""TorchScript archives and torch.export programs: networks that bring themselves."""

from __future__ import annotations

import json
import pathlib
import warnings
import zipfile
from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers.nets import ConvNet
from landscape import Objective, load_checkpoint
from landscape.checkpoint import read_checkpoint
from landscape.checkpoint.programs import FixedBatch
from landscape.errors import CheckpointError

IMAGES = torch.randn(10, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(10) % 2


def network() -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(classes=2).eval()


def script(net: nn.Module, path: pathlib.Path, *, trace: bool = False, freeze: bool = False) -> pathlib.Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(net, IMAGES) if trace else torch.jit.script(net)
        (torch.jit.freeze(scripted) if freeze else scripted).save(str(path))
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, pathlib.Path]:
    """The same network exported for batches of four, and for any batch size."""
    folder = tmp_path_factory.mktemp("exported")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fixed = torch.export.export(network(), (IMAGES[:4],))
        free = torch.export.export(network(), (IMAGES[:4],), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
        torch.export.save(fixed, folder / "fixed.pt2")
        torch.export.save(free, folder / "free.pt2")
    return {"fixed": folder / "fixed.pt2", "free": folder / "free.pt2"}


@pytest.mark.parametrize("trace", [False, True])
def test_a_torchscript_archive_is_its_own_network(trace, tmp_path):
    net = network()
    checkpoint = read_checkpoint(script(net, tmp_path / "net.pt", trace=trace))
    assert checkpoint.form == "TorchScript, 9 tensors"
    assert all(torch.equal(checkpoint.state[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.allclose(checkpoint.model(IMAGES), net(IMAGES))
    assert Objective(checkpoint.model, (IMAGES, LABELS)).centre == pytest.approx(
        Objective(net, (IMAGES, LABELS)).centre, rel=1e-6
    )


def test_a_torchscript_archive_also_fills_a_given_network(tmp_path):
    net = network()
    loaded = load_checkpoint(script(net, tmp_path / "net.pt"), ConvNet(classes=2))
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in net.state_dict().items())


def test_a_frozen_torchscript_archive_has_nothing_to_move(tmp_path):
    with pytest.raises(CheckpointError, match="before freezing"):
        read_checkpoint(script(network(), tmp_path / "net.pt", freeze=True))


@pytest.mark.parametrize("batch", ["fixed", "free"])
def test_an_exported_program_is_its_own_network_for_any_batch_size(batch, exported):
    net = network()
    checkpoint = read_checkpoint(exported[batch])
    assert checkpoint.form.startswith("torch.export program (")
    assert ("batches of 4" in checkpoint.form) == (batch == "fixed")
    model = load_checkpoint(exported[batch])
    model.train()
    model.eval()
    for size in (1, 4, 10):
        assert torch.allclose(model(IMAGES[:size]), net(IMAGES[:size]), atol=1e-6)
    found, expected = Objective(model, (IMAGES, LABELS)), Objective(net, (IMAGES, LABELS))
    assert found.centre == pytest.approx(expected.centre, rel=1e-6)
    moved = [objective.theta + 0.1 for objective in (found, expected)]
    assert found.loss_at(moved[0][None]) == pytest.approx(expected.loss_at(moved[1][None]), rel=1e-5)


def test_a_fixed_batch_needs_one_tensor_back():
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(CheckpointError, match="returns tuple instead of one tensor"):
        FixedBatch(Pair(), 4)(IMAGES)


def test_the_environment_is_left_as_it_was(exported, monkeypatch):
    import os

    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    read_checkpoint(exported["free"])
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    read_checkpoint(exported["free"])
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"


PROGRAMS = ("models/model.json", "serialized_exported_program.json")  # its entry in today's archives, and by torch 2.6


def program_entry(path: pathlib.Path) -> str:
    """Return the name of the entry that holds the program's text."""
    return next(name for name in zipfile.ZipFile(path).namelist() if name.endswith(PROGRAMS))


def rewrite(
    path: pathlib.Path, out: pathlib.Path, change: Callable[[str], str], entry: str = "", name: str = ""
) -> pathlib.Path:
    """Copy an archive with its program's text changed, or with one more entry, or the program under another name."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            content, written = source.read(info), info.filename
            if written.endswith(PROGRAMS):
                content, written = change(content.decode()).encode(), name or written
            target.writestr(written, content)
        if entry:
            target.writestr(entry, b"x")
    return out


EVIL = "__import__('os').mkdir('mark')"
TRAPS = {
    "a guard": lambda text: text.replace('"guards_code": []', f'"guards_code": ["{EVIL}"]'),
    "a size": lambda text: text.replace("Symbol('s", f"{EVIL} + Symbol('s"),
    "an input's name": lambda text: text.replace('"name": "images"', f'"name": "images={EVIL}"'),
    "a parameter's name": lambda text: text.replace('"conv.weight"', '"conv\\"+str(1)+\\".weight"'),
    "an operation": lambda text: text.replace('"torch.ops.aten.relu.default"', '"torch.hub.load"'),
    "a library": lambda text: text.replace('"torch.ops.aten.relu.default"', '"torch.ops.load_library"'),
    "a text that is no expression": lambda text: text.replace("Symbol('s", "Symbol(('s"),
    "a private name": lambda text: text.replace("Symbol('s", "__builtins__ + Symbol('s"),
    "a text in a size": lambda text: text.replace("Symbol('s", "Mod('a b', 2) + Symbol('s"),
    "a function of its own": lambda text: text.replace("Symbol('s", "(lambda: 1) + Symbol('s"),
    "a range's name": lambda text: text.replace('"range_constraints": {"', '"range_constraints": {"__import__(1) + '),
    "a specification that is no JSON": lambda text: text.replace('"in_spec": "[', '"in_spec": "print(1)[', 1),
    "an argument's key": lambda text: text.replace(
        '\\"context\\": \\"[]\\"', '\\"context\\": \\"[\\\\\\"a=print(1)\\\\\\"]\\"'
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize(
    "name", ["free/models/model.json", "serialized_exported_program.json"], ids=["today's layout", "that of torch 2.6"]
)
def test_an_exported_program_with_code_in_its_text_is_refused(name, trap, exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = zipfile.ZipFile(exported["free"]).read(program_entry(exported["free"])).decode()
    if trap == "a guard" and "guards_code" not in text:
        pytest.skip("this torch writes no guards")
    changed = TRAPS[trap](text)
    json.loads(changed)
    assert changed != text
    path = rewrite(exported["free"], tmp_path / "trap.pt2", lambda text: changed, name=name)
    with pytest.raises(CheckpointError, match=r"could run any code: the text .*[\s\S]*`unsafe=True`"):
        read_checkpoint(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "entry", ["free/data/constants/opaque_obj_0", "free/data/aotinductor/model.so", "the program in capitals"]
)
def test_an_exported_program_with_objects_or_compiled_code_is_refused(entry, exported, tmp_path):
    if entry == "the program in capitals":
        entry = program_entry(exported["free"]).upper()
    path = rewrite(exported["free"], tmp_path / "trap.pt2", str, entry)
    with pytest.raises(CheckpointError, match="could run any code"):
        read_checkpoint(path)


def test_damaged_programs(exported, tmp_path):
    content = bytearray(exported["free"].read_bytes())
    (tmp_path / "cut.pt2").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cut short"):
        read_checkpoint(tmp_path / "cut.pt2")
    content[content.index(b"batch_norm.default") + 3] ^= 1
    (tmp_path / "flip.pt2").write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        read_checkpoint(tmp_path / "flip.pt2")
    rewrite(exported["free"], tmp_path / "broken.pt2", lambda text: text[:-20])
    with pytest.raises(CheckpointError, match="no JSON"):
        read_checkpoint(tmp_path / "broken.pt2")
    rewrite(exported["free"], tmp_path / "newer.pt2", lambda text: text.replace('"major": 8', '"major": 99'))
    with pytest.raises(CheckpointError, match="cannot load"):
        read_checkpoint(tmp_path / "newer.pt2")
    script(network(), tmp_path / "net.pt")
    content = (tmp_path / "net.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[:-30])
    with pytest.raises(CheckpointError, match="cut short"):
        read_checkpoint(tmp_path / "cut.pt")
    with zipfile.ZipFile(tmp_path / "net.pt") as source, zipfile.ZipFile(tmp_path / "code.pt", "w") as target:
        for info in source.infolist():
            code = info.filename.endswith(".py")
            target.writestr(info.filename, b"def (" if code else source.read(info))
    with pytest.raises(CheckpointError, match="is a TorchScript archive that torch cannot load"):
        read_checkpoint(tmp_path / "code.pt")
