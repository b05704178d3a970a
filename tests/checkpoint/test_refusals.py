"""What is no checkpoint, is damaged, does not fit or would run code: one clear error each."""

from __future__ import annotations

import importlib
import os
import pathlib
import pickle
import sys
import zipfile

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from helpers.nets import ConvNet, mlp
from landscape import load_checkpoint
from landscape.checkpoint import files, put_weights, read_checkpoint
from landscape.checkpoint.fit import load_into
from landscape.errors import CheckpointError


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


class Shell(Touch):
    """The same by way of a module that torch blocks outright."""

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def message(path, model=None, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, model, **options)
    return str(caught.value)


# --- code in the file ---


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("trap", [Touch, Shell])
def test_code_in_a_pickle_is_not_run(trap, zipped, tmp_path):
    path, mark = tmp_path / "net.pt", tmp_path / "mark"
    torch.save({"state_dict": mlp().state_dict(), "extra": trap(mark)}, path, _use_new_zipfile_serialization=zipped)
    text = message(path, mlp())
    assert not mark.exists()
    assert "`unsafe=True`" in text
    assert ("mkdir" if trap is Shell else "exec") in text
    load_checkpoint(path, mlp(), unsafe=True)
    assert mark.exists()  # the trap was live


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_is_refused_unless_allowed(zipped, tmp_path):
    net = nn.Sequential(ConvNet())
    path = tmp_path / "net.pt"
    torch.save({"model": net}, path, _use_new_zipfile_serialization=zipped)
    text = message(path)
    assert "whole pickled model" in text
    assert "`unsafe=True`" in text
    loaded = load_checkpoint(path, unsafe=True)
    assert isinstance(loaded[0], ConvNet)
    assert read_checkpoint(path, unsafe=True).form == "pickled module nested under 'model', 9 tensors"


def test_a_pickled_data_parallel_module_is_unwrapped(tmp_path):
    torch.save(nn.DataParallel(mlp()), tmp_path / "net.pt")
    checkpoint = read_checkpoint(tmp_path / "net.pt", unsafe=True)
    assert isinstance(checkpoint.model, nn.Sequential)
    assert set(checkpoint.state) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_pickled_module_whose_code_is_absent(tmp_path, monkeypatch):
    torch.save(ConvNet(), tmp_path / "net.pt")
    monkeypatch.delattr("helpers.nets.ConvNet")
    assert "its code is not here" in message(tmp_path / "net.pt", unsafe=True)


def test_a_pickled_module_whose_code_lies_beside_it(tmp_path, monkeypatch):
    source = "from torch import nn\n\nclass OwnNet(nn.Linear):\n    pass\n"
    (tmp_path / "own_net_beside.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("own_net_beside").OwnNet
    torch.save(own(2, 2), tmp_path / "net.pt")
    monkeypatch.undo()
    del sys.modules["own_net_beside"]
    before = list(sys.path)
    loaded = load_checkpoint(tmp_path / "net.pt", unsafe=True)
    assert type(loaded).__name__ == "OwnNet"
    assert sys.path == before
    del sys.modules["own_net_beside"]


def test_another_pickle_protocol_is_explained(tmp_path):
    with open(tmp_path / "net.pt", "wb") as file:
        torch.save(mlp().state_dict(), file, pickle_protocol=4)
    with pytest.warns(UserWarning, match="pickle protocol 4"):
        text = message(tmp_path / "net.pt", mlp())
    assert "cannot be read safely" in text


# --- no checkpoint ---


def foreign_files(folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, str]]:
    """Return name -> (path of a file that is no checkpoint, what the error must say)."""
    files = {
        "empty": (b"", "empty file"),
        "text": ("Größe: 3\n".encode(), "text file"),
        "long text": (("a" + "ü" * 2000).encode(), "text file"),
        "page": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
        "gzip": (b"\x1f\x8b\x08\x00" + b"\x00" * 20, "gunzip"),
        "noise": (bytes(range(1, 255)) * 5, "does not know"),
        "pickle": (pickle.dumps({"a": 1}), "torch.save did not write"),
    }
    found = {}
    for name, (content, text) in files.items():
        (folder / name).write_bytes(content)
        found[name] = (folder / name, text)
    np.savez(folder / "data.npz", inputs=np.ones(3))
    np.save(folder / "data.npy", np.ones(3))
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"] = np.ones(3)
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    (folder / "empty folder").mkdir()
    return found | {
        "npz": (folder / "data.npz", "`data=...`"),
        "npy": (folder / "data.npy", "NumPy array"),
        "hdf5": (folder / "data.h5", "HDF5"),
        "zip": (folder / "other.zip", "zip archive that torch did not write"),
        "folder": (folder / "empty folder", "holds nothing"),
    }


@pytest.mark.parametrize(
    "name",
    ["empty", "text", "long text", "page", "lfs", "gzip", "noise", "pickle", "npz", "npy", "hdf5", "zip", "folder"],
)
def test_other_files_are_named_for_what_they_are(name, tmp_path):
    path, text = foreign_files(tmp_path)[name]
    said = message(path)
    assert text in said
    assert str(path) in said


def test_a_missing_file_brings_near_names(tmp_path):
    torch.save(mlp().state_dict(), tmp_path / "resnet20.pth")
    assert f"Did you mean {tmp_path / 'resnet20.pth'}?" in message(tmp_path / "resnet20.pt")
    assert f"Did you mean {tmp_path / 'resnet20.pth'}?" in message(tmp_path / "resnet_2.pth")
    assert "holds resnet20.pth" in message(tmp_path / "else")
    assert "neither does the folder" in message(tmp_path / "no" / "net.pt")
    (tmp_path / "link.pt").symlink_to("nowhere.pt")
    assert "is a link to nowhere.pt, which leads to no file" in message(tmp_path / "link.pt")
    assert "is an address, not a file" in message("https://example.org/net.pt")


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        ({"epoch": 3, "loss": [0.1]}, "a dict with 'epoch': int, 'loss': list"),
        ({"optimizer": {"state": {}, "param_groups": []}}, "the state of a training, such as its optimiser's"),
        ({"fc.weight": torch.ones(2, 3, dtype=torch.int8)}, "'fc.weight': int8 tensor (2, 3).\nQuantised weights"),
        ([torch.ones(2), torch.ones(3)], "a list of 2: tensor (2,), tensor (3,)"),
        (torch.ones(2, 2), "tensor (2, 2)"),
        ({}, "an empty dict"),
    ],
)
def test_a_file_without_weights_is_outlined(thing, text, tmp_path):
    torch.save(thing, tmp_path / "net.pt")
    said = message(tmp_path / "net.pt")
    assert "holds no weights" in said
    assert text in said


def test_weights_alone_need_a_network(tmp_path):
    torch.save(mlp().state_dict(), tmp_path / "net.pt")
    assert "`model='pkg.mod:factory'`" in message(tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="must be a torch module, not type"):
        put_weights(read_checkpoint(tmp_path / "net.pt"), ConvNet)


# --- damage ---


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3, 0.7, 0.999])
def test_a_file_cut_short(form, share, tmp_path):
    from safetensors.torch import save_file

    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    state = dict(mlp(2, 1000).state_dict())
    if form == "safetensors":
        save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=form == "zip")
    content = whole.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    said = message(cut)
    assert "\n" not in said.rstrip("\n") or "is not a checkpoint" in said
    assert "`unsafe=True`" not in said


@pytest.mark.parametrize("share", [64, 2**26], ids=["threads", "one thread"])
@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.weight", "2.bias"])
def test_a_flipped_bit_in_a_weight_is_noticed(name, share, tmp_path, monkeypatch):
    """torch reads the weight and says nothing."""
    monkeypatch.setattr(files, "_SHARE", share)
    monkeypatch.setattr(files.os, "cpu_count", lambda: 3)
    path = tmp_path / "net.pt"
    state = mlp().state_dict()
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[content.index(state[name].numpy().tobytes())] ^= 0x40
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)[name], state[name])
    assert "do not match their checksum" in message(path)


def test_files_written_without_checksums_pass(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(mlp().state_dict(), tmp_path / "net.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert len(read_checkpoint(tmp_path / "net.pt").state) == 4


# --- a model that does not fit ---


def test_names_and_shapes_that_differ_are_listed_with_the_cause(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"state_dict": ConvNet(classes=10).state_dict()}, path)

    said = message(path, ConvNet(classes=100))
    assert "different shape (2): fc.weight file (10, 4) model (100, 4), fc.bias file (10,) model (100,)" in said
    assert "another number of outputs (classes): 10 in the file, 100 in the model" in said
    assert "`model_args=...`" in said

    said = message(path, ConvNet(width=8))
    assert "different shape (7)" in said
    assert "other arguments (width" in said

    said = message(path, mlp())
    assert "missing from the file (4): 0.weight, 0.bias, 2.weight, 2.bias" in said
    assert "not in the model (9): conv.weight" in said
    assert "the names have nothing in common" in said

    deeper = ConvNet()
    deeper.extra = nn.Linear(2, 2)
    said = message(path, deeper)
    assert "missing from the file (2): extra.weight, extra.bias" in said
    assert "not in the model" not in said
    assert "deeper than the file's" in said

    torch.save(deeper.state_dict(), path)
    checkpoint = put_weights(read_checkpoint(path), ConvNet())  # a note, not a refusal: all that it has is there
    assert "2 tensors that the network lacks left out (extra.weight, extra.bias)" in checkpoint.form


def test_causes_that_names_tell(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    part = tmp_path / "model-00001-of-00002.pt"
    torch.save(net[0].state_dict(prefix="0."), part)
    assert "this file is part 1 of 2. Pass the folder" in message(part, net)
    torch.save(dict(net.named_parameters()), tmp_path / "net.pt")
    assert "no running statistics of BatchNorm" in message(tmp_path / "net.pt", net)
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), nn.BatchNorm1d(3))
    torch.save(normed.state_dict(), tmp_path / "normed.pt")
    assert "weights in the file are parametrised" in message(tmp_path / "normed.pt", net)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert "weights of the model are parametrised" in message(tmp_path / "net.pt", normed)
    torch.save(net.to("meta").state_dict(), tmp_path / "net.pt")
    assert "tensors of the meta device" in message(tmp_path / "net.pt", normed)


def test_only_the_first_ten_names_are_listed(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(nn.Sequential(*(nn.Linear(1, 1) for _ in range(10))).state_dict(), path)
    said = message(path, ConvNet())
    assert "not in the model (20): 0.weight, 0.bias, 1.weight, 1.bias, 2.weight, 2.bias, 3.weight, 3.bias, " in said
    assert "4.bias, ... (10 more)" in said
    assert "5.weight" not in said


def test_other_sets_of_weights_in_the_file_are_mentioned(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"model": mlp().state_dict(), "ema": mlp().state_dict()}, path)
    assert "also holds: state_dict nested under 'ema', 4 tensors" in message(path, ConvNet())


def test_other_weights_that_fit_as_well_are_named(tmp_path):
    weights = mlp(2, 8).state_dict()
    average = {name: tensor + 1 for name, tensor in weights.items()}
    torch.save({"model": weights, "model_ema": average}, tmp_path / "run.pt")
    checkpoint = read_checkpoint(tmp_path / "run.pt")
    match = load_into(mlp(2, 8), checkpoint.states, "run.pt")
    assert match.alternatives == ("'model_ema'",)
    assert match.renamed().endswith("taken before those under 'model_ema', which fit too (`weights=...` chooses)")
    assert not load_into(mlp(2, 8), checkpoint.states[:1], "run.pt").alternatives


def test_mutilated_archives_are_one_clear_error(tmp_path):
    """A byte changed in the tables of a zip archive makes its reader raise nearly anything; none of it escapes."""
    path = tmp_path / "net.pt"
    torch.save(mlp().state_dict(), path)
    whole, seen = path.read_bytes(), set()
    directory = whole.rindex(b"PK\x05\x06")
    start = int.from_bytes(whole[directory + 16 : directory + 20], "little")
    places = [*range(start, start + 60), *range(directory, len(whole)), *range(60)]
    for place in places:
        for value in (0xFF, 0x00, 109):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                read_checkpoint(path)
            except CheckpointError as error:
                seen.add(str(error).partition(" is ")[2][:12])
    assert len(seen) > 2


@pytest.mark.parametrize("name", ["a" * 3000, "b/" * 2000 + "net.pt", "~nobody-of-this-name/net.pt", "nul\0.pt"])
def test_paths_that_no_system_takes_do_not_exist(name):
    said = message(name)
    assert "does not exist" in said
    assert len(said) < 500
