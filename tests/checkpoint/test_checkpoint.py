"""Every form of checkpoint gives back the weights that were saved."""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.resnet_cifar import ResNetCifar, imagenet_standardised
from helpers.nets import ConvNet, TiedNet, fake_transformers, mlp
from helpers.shared_data import shared_data
from landscape import load_checkpoint
from landscape.checkpoint import Checkpoint, own_model, put_weights, read_checkpoint
from landscape.checkpoint.search import find_states
from landscape.errors import CheckpointError, MissingExtraError
from landscape.inputs import load_data


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(mlp().state_dict())


def save(thing: Any, path: pathlib.Path, **options: Any) -> pathlib.Path:
    torch.save(thing, path, **options)
    return path


def assert_same(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
        assert state[name].dtype == tensor.dtype
        assert state[name].device.type == "cpu"


def prefixed(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


NESTINGS = {
    "plain": (lambda w: w, "state_dict, 4 tensors"),
    "ordered": (lambda w: collections.OrderedDict(w), "state_dict, 4 tensors"),
    "parameters": (lambda w: {k: nn.Parameter(v) for k, v in w.items()}, "state_dict, 4 tensors"),
    **{
        key: (lambda w, key=key: {"epoch": 3, key: w}, f"nested under '{key}'")
        for key in ("state_dict", "model", "model_state_dict", "net", "network", "weights", "params", "ema", "my_net")
    },
    "deeper": (lambda w: {"run": {"model": w, "mean": torch.ones(3)}}, "nested under ['run']['model']"),
    "list": (lambda w: [w], "nested under [0]"),
    "tuple with a step": (lambda w: (7, {"model": w}), "nested under [1]['model']"),
    "beside scalars": (lambda w: {**w, "epoch": 3}, "state_dict, 4 tensors"),
    "module.": (lambda w: prefixed(w, "module."), "prefix 'module.' removed"),
    "_orig_mod.": (lambda w: prefixed(w, "_orig_mod."), "prefix '_orig_mod.' removed"),
    "both": (lambda w: {"net": prefixed(w, "module._orig_mod.")}, "prefix 'module._orig_mod.' removed"),
    "twice": (lambda w: prefixed(w, "module.module."), "prefix 'module.module.' removed"),
}


@pytest.mark.parametrize("nesting", NESTINGS)
def test_the_weights_are_found_wherever_they_are_nested(nesting, weights, tmp_path):
    nest, form = NESTINGS[nesting]
    path = save(nest(weights), tmp_path / "net.pt")
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.state, weights)
    assert form in checkpoint.form
    assert checkpoint.form.count("\n") == 0
    assert_same(load_checkpoint(path, mlp()).state_dict(), weights)


def test_the_legacy_file_format_is_read(weights, tmp_path):
    path = save({"state_dict": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same(read_checkpoint(path).state, weights)


def test_optimiser_states_and_averages_come_after_the_weights(weights, tmp_path):
    optimiser = {"state": {i: {"exp_avg": torch.ones(2)} for i in range(9)}, "param_groups": [{"lr": 0.1}]}
    average = {**{name: tensor + 1 for name, tensor in weights.items()}, "decay": torch.tensor(0.9)}
    saved = {"optimizer": optimiser, "opt": {"exp": optimiser}, "model_ema": average, "model": weights}
    checkpoint = read_checkpoint(save(saved, tmp_path / "run.pt"))
    assert_same(checkpoint.state, weights)
    assert [state.place for state in checkpoint.states] == ["'model'", "'model_ema'"]


def test_the_set_that_fits_the_model_is_taken(tmp_path):
    small, large = mlp(2, 8), nn.Sequential(*mlp(2, 5), nn.Linear(3, 3))
    path = save({"generator": large.state_dict(), "critic": small.state_dict()}, tmp_path / "gan.pt")
    assert read_checkpoint(path).states[0].place == "'generator'"
    fitted = mlp(2, 8)
    used = put_weights(read_checkpoint(path), fitted)
    assert_same(fitted.state_dict(), small.state_dict())
    assert "'critic'" in used.form


def test_the_task_of_our_own_recipes_is_kept(weights, tmp_path):
    record = {"recipe": "swiss-roll", "args": {"width": 8}}
    path = save({"state_dict": weights, "landscape_task": record}, tmp_path / "own.pt")
    assert read_checkpoint(path).task_record == record


def test_find_states_passes_over_what_is_no_state_dict():
    assert find_states({"epoch": 3, "rng_state": torch.zeros(8, dtype=torch.uint8), "losses": [1.0, 2.0]}) == []


# --- names that only fit once the model is known ---


def test_a_lightning_checkpoint_fits_the_inner_network(weights, tmp_path):
    saved = {
        "pytorch-lightning_version": "2.4.0",
        "epoch": 1,
        "state_dict": {**prefixed(weights, "model."), "criterion.weight": torch.ones(3)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}],
        "hyper_parameters": {"width": 8},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1)}},
    }
    path = save(saved, tmp_path / "last.ckpt")
    model = mlp()
    used = put_weights(read_checkpoint(path), model)
    assert_same(model.state_dict(), weights)
    assert used.form.startswith("Lightning checkpoint: state_dict nested under 'state_dict'")
    assert used.form.endswith("prefix 'model.' removed, 1 tensors outside it left out")


def test_a_compiled_network_inside_a_lightning_module(weights, tmp_path):
    path = save({"state_dict": prefixed(weights, "net._orig_mod.")}, tmp_path / "last.ckpt")
    assert_same(load_checkpoint(path, mlp()).state_dict(), weights)


def test_a_model_that_wraps_the_saved_network(weights, tmp_path):
    wrapper = nn.ModuleDict({"body": mlp()})
    used = put_weights(read_checkpoint(save(weights, tmp_path / "net.pt")), wrapper)
    assert_same(wrapper["body"].state_dict(), weights)
    assert "prefix 'body.' added" in used.form


def test_a_model_with_wrappers_of_its_own(weights, tmp_path):
    compiled = nn.ModuleDict({"net": nn.ModuleDict({"_orig_mod": mlp()})})  # the names that torch.compile gives
    for prefix in ("net.", "net.module."):
        other = {name: tensor + len(prefix) for name, tensor in weights.items()}
        load_checkpoint(save(prefixed(other, prefix), tmp_path / "net.pt"), compiled)
        assert_same(compiled["net"]["_orig_mod"].state_dict(), other)


def test_the_weights_are_preferred_to_their_average_under_a_prefix(weights, tmp_path):
    average = {name: tensor + 1 for name, tensor in weights.items()}
    both = {**prefixed(average, "average."), **prefixed(weights, "body.")}
    model = load_checkpoint(save({"state_dict": both}, tmp_path / "net.pt"), mlp())
    assert_same(model.state_dict(), weights)


def test_equally_fitting_parts_are_not_guessed(tmp_path):
    layers = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    path = save(layers.state_dict(), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"first\., second\."):
        load_checkpoint(path, nn.Linear(2, 2))


# --- models that need care ---


def test_a_file_without_batch_counters_fits(tmp_path):
    net = ConvNet()
    state = {name: tensor for name, tensor in net.state_dict().items() if "num_batches" not in name}
    path = save(state, tmp_path / "net.pt")
    assert_same(load_checkpoint(path, ConvNet()).state_dict(), net.state_dict())
    with torch.device("meta"):
        model = ConvNet()
    assert_same(load_checkpoint(path, model).state_dict(), net.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, ConvNet(classes=3))
    assert "missing from the file" not in str(caught.value)


def test_a_model_on_the_meta_device_takes_the_tensors_in_its_own_dtype(weights, tmp_path):
    path = save({name: tensor.double() for name, tensor in weights.items()}, tmp_path / "net.pt")
    with torch.device("meta"):
        model = mlp()
    assert_same(load_checkpoint(path, model).state_dict(), weights)
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("saved", ["both names", "one name"])
def test_tied_parameters_stay_tied(device, saved, tmp_path):
    net = TiedNet()
    state = dict(net.state_dict())
    if saved == "one name":
        del state["head.weight"]
    with torch.device(device):
        model = TiedNet()
    load_checkpoint(save(state, tmp_path / "net.pt"), model)
    assert model.head.weight is model.embedding.weight
    assert len(list(model.parameters())) == 1
    assert torch.equal(model.head.weight, net.head.weight)


def test_buffers_that_no_file_holds_cannot_stay_on_the_meta_device(tmp_path):
    class Shifted(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.register_buffer("shift", torch.ones(2), persistent=False)

    path = save(Shifted().state_dict(), tmp_path / "net.pt")
    with torch.device("meta"):
        model = Shifted()
    with pytest.raises(CheckpointError, match=r"no value for shift.*[\s\S]*Build the model on the CPU"):
        load_checkpoint(path, model)


def test_hooks_of_the_model_may_rename_old_names(tmp_path):
    """torch's weight_norm still reads the names of its predecessor, weight_g and weight_v."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(nn.Linear(2, 3))
    new = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    load_checkpoint(save(old.state_dict(), tmp_path / "net.pt"), new)
    assert torch.allclose(new.weight, old.weight)


def test_state_that_is_no_tensor_may_be_absent(weights, tmp_path):
    class Counting(nn.Sequential):
        def get_extra_state(self) -> int:
            return 3

        def set_extra_state(self, state: int) -> None:
            raise AssertionError("nothing was saved")

    model = load_checkpoint(save(weights, tmp_path / "net.pt"), Counting(*mlp()))
    assert torch.equal(model[0].weight, weights["0.weight"])


def test_lazy_layers_take_their_shape_from_the_file(weights, tmp_path):
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
    assert_same(load_checkpoint(save(weights, tmp_path / "net.pt"), model).state_dict(), weights)


# --- tensors of another machine ---


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows loading without CUDA")
@pytest.mark.parametrize("zipped", [True, False])
def test_storages_tagged_cuda_load_without_cuda(zipped, weights, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        path = save(weights, tmp_path / "gpu.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RuntimeError, match="CUDA"):  # the tag is really there
        torch.load(path, weights_only=True)
    assert_same(read_checkpoint(path).state, weights)


def test_half_precision_is_read_as_saved_and_loaded_in_the_models_dtype(weights, tmp_path):
    half = {name: tensor.bfloat16() for name, tensor in weights.items()}
    path = save(half, tmp_path / "half.pt")
    assert_same(read_checkpoint(path).state, half)
    assert load_checkpoint(path, mlp())[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    "extra",
    [
        np.float64(0.5),
        np.float32(0.5),
        np.arange(3.0),
        np.array(["a"]),
        argparse.Namespace(lr=0.1, best=np.float64(1)),
        pathlib.Path("runs/7"),
        collections.defaultdict(list, {"loss": [1.0]}),
        collections.deque([1, 2], maxlen=3),
        types.SimpleNamespace(a=1),
        range(3),
        frozenset({1}),
    ],
    ids=lambda extra: type(extra).__name__,
)
def test_plain_data_beside_the_weights_does_no_harm(extra, weights, tmp_path):
    path = save({"state_dict": weights, "extra": extra}, tmp_path / "run.pt")
    assert_same(read_checkpoint(path).state, weights)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


# --- safetensors and Hugging Face ---


def test_safetensors(weights, tmp_path):
    save_file(prefixed(weights, "module."), tmp_path / "net.safetensors")
    checkpoint = read_checkpoint(tmp_path / "net.safetensors")
    assert_same(checkpoint.state, weights)
    assert checkpoint.form == "safetensors, 4 tensors, prefix 'module.' removed"


def shard(folder: pathlib.Path, weights: dict[str, torch.Tensor]) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    names = sorted(weights)
    places = {name: f"model-0000{1 + (i >= 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in sorted(set(places.values())):
        save_file({name: weights[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.mark.parametrize("stored", ["whole", "shards", "bin"])
def test_a_hugging_face_folder(stored, weights, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    if stored == "whole":
        save_file(weights, tmp_path / "model.safetensors")
    elif stored == "shards":
        shard(tmp_path, weights)
    else:
        save(weights, tmp_path / "pytorch_model.bin")
    checkpoint = read_checkpoint(tmp_path)
    assert_same(checkpoint.state, weights)
    assert checkpoint.form.startswith("Hugging Face folder, ")
    assert_same(load_checkpoint(tmp_path, mlp()).state_dict(), weights)


def test_the_index_of_the_shards_stands_for_its_folder(weights, tmp_path):
    folder = shard(tmp_path / "model", weights)
    assert_same(read_checkpoint(folder / "model.safetensors.index.json").state, weights)


def test_an_incomplete_hugging_face_folder(weights, tmp_path):
    folder = shard(tmp_path / "model", weights)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors, one of 2, is missing"):
        read_checkpoint(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002", "../model-00002"))
    with pytest.raises(CheckpointError, match="outside the folder"):
        read_checkpoint(folder)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="no index of shards"):
        read_checkpoint(folder)


def test_shards_that_do_not_hold_what_their_index_says(weights, tmp_path):
    folder = shard(tmp_path / "model", weights)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    file = next(iter(places.values()))
    for content, words in (
        ({**places, "more": file}, f"places more in {file}, but it is not there"),
        ({**places, "more": "page.html"}, "page.html is not a checkpoint: it is a web page"),
        ({**places, "more": "empty.bin"}, "empty.bin holds no weights"),
    ):
        index.write_text(json.dumps({"weight_map": content}))
        (folder / "page.html").write_text("<!doctype html><p>404")
        torch.save({"step": 3}, folder / "empty.bin")
        with pytest.raises(CheckpointError, match=words):
            read_checkpoint(folder)


def test_the_model_of_a_hugging_face_folder_is_built_by_transformers(weights, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    save_file(weights, tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "transformers", fake_transformers([], ["TinyNet"]))
    assert_same(load_checkpoint(tmp_path).state_dict(), weights)
    monkeypatch.setitem(sys.modules, "transformers", fake_transformers(["classifier.weight"], ["TinyNet"]))
    with pytest.raises(CheckpointError, match=r"would be random: classifier\.weight"):
        load_checkpoint(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", fake_transformers([], ["HomeMade"]))
    with pytest.raises(CheckpointError, match="HomeMade, which transformers does not have"):
        load_checkpoint(tmp_path)


def test_without_transformers_the_extra_is_named(weights, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    save_file(weights, tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"landscape-lab\[transformers\]"):
        load_checkpoint(tmp_path)


# --- a real checkpoint ---


def test_the_real_resnet20_classifies_real_images():
    model = ResNetCifar()
    used: Checkpoint = put_weights(read_checkpoint(shared_data("resnet20-cifar10.th")), model)
    assert used.form == "state_dict nested under 'state_dict', prefix 'module.' removed, 97 tensors"
    assert own_model(used) is None
    images, labels = load_data(shared_data("cifar10_lossless200.npz"))
    with torch.no_grad():
        right = (model.eval()(imagenet_standardised(images)).argmax(1) == labels).float().mean()
    assert right.item() == pytest.approx(0.925, abs=0.006)
