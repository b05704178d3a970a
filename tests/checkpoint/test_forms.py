"""Forms in which trainers and wrappers leave weights: averages, pieces, adapters, objects besides the weights."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from helpers.nets import mlp
from landscape import load_checkpoint
from landscape.checkpoint import put_weights, read_checkpoint
from landscape.errors import CheckpointError, MissingExtraError

Weights = dict[str, Tensor]


def weights(seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    return mlp().state_dict()


def assert_holds(model: nn.Module, state: Weights) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], state[name]) for name in state)


def refusal(path: Path, model: nn.Module | None = None, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, model, **options)
    return str(caught.value)


class Config:
    """A class that only the author of a checkpoint has."""

    def __init__(self) -> None:
        self.width = 8


class Settings(dict):
    """Such a dict."""


# --- averages ---


def test_stochastic_weight_averaging(tmp_path):
    average = AveragedModel(mlp())
    average.update_parameters(mlp())
    average.update_parameters(mlp())
    torch.save(average.state_dict(), tmp_path / "swa.pt")
    torch.save({"swa": {"model": average.state_dict()}}, tmp_path / "nested.pt")
    for name in ("swa.pt", "nested.pt"):
        assert_holds(load_checkpoint(tmp_path / name, mlp()), average.module.state_dict())
    form = put_weights(read_checkpoint(tmp_path / "swa.pt"), mlp()).form
    assert form == "state_dict, prefix 'module.' removed, 4 tensors"


def test_a_set_of_weights_is_chosen_by_name(tmp_path):
    average = AveragedModel(mlp(), multi_avg_fn=get_ema_multi_avg_fn(0.9))
    own, ema, other = weights(0), average.module.state_dict(), weights(2)
    path = tmp_path / "run.pt"
    torch.save({"state_dict": own, "state_dict_ema": average.state_dict(), "best": {"net": other}}, path)
    assert_holds(load_checkpoint(path, mlp()), own)
    for name, expected in {"state_dict_ema": ema, "best.net": other, "net": other, "state_dict": own}.items():
        assert_holds(load_checkpoint(path, mlp(), weights=name), expected)
    assert "`weights=...` chooses" in put_weights(read_checkpoint(path), mlp()).form
    assert "no set of weights called 'emma'. Names in it: state_dict, best.net, state_dict_ema" in refusal(
        path, mlp(), weights="emma"
    )


def test_one_set_of_weights_has_no_name(tmp_path):
    torch.save(weights(), tmp_path / "plain.pt")
    assert "one set of weights, and it has no name, so none is called 'ema'. Leave" in refusal(
        tmp_path / "plain.pt", mlp(), weights="ema"
    )


def test_weights_that_are_there_under_two_names(tmp_path):
    own = weights()
    loop = {"state_dict": own, "state_dict_ema": own}
    torch.save(loop | {"more": {"again": loop}}, tmp_path / "run.pt")
    assert_holds(load_checkpoint(tmp_path / "run.pt", mlp(), weights="state_dict_ema"), own)


def test_a_set_of_weights_is_chosen_by_the_beginning_of_its_names(tmp_path):
    online, ema = weights(0), weights(1)
    both = {f"online.{name}": tensor for name, tensor in online.items()}
    torch.save(both | {f"ema_model.{name}": tensor for name, tensor in ema.items()}, tmp_path / "net.pt")
    assert_holds(load_checkpoint(tmp_path / "net.pt", mlp()), online)
    assert_holds(load_checkpoint(tmp_path / "net.pt", mlp(), weights="ema_model"), ema)


# --- objects of unknown classes besides the weights ---


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_besides_unknown_classes_are_read_and_what_was_skipped_is_said(zipped, tmp_path, monkeypatch):
    path = tmp_path / "net.pt"
    content = {"config": Config(), "model": weights(), "options": Settings(width=8)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr(Config, "__new__", lambda *_: pytest.fail("the class of the file was made"))
    checkpoint = read_checkpoint(path)
    assert_holds(load_checkpoint(path, mlp()), weights())
    assert "Python objects in the file were skipped: " in checkpoint.form
    assert all(f"{kind.__module__}.{kind.__name__}" in checkpoint.form for kind in (Config, Settings))


def test_functions_of_the_system_are_never_skipped(tmp_path):
    class Trap:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    torch.save({"model": weights(), "config": Config(), "x": Trap()}, tmp_path / "net.pt")
    assert "exec" in refusal(tmp_path / "net.pt", mlp())


# --- folders in pieces ---


def save_sharded(folder: Path) -> Weights:
    state = weights(3)
    optimiser = torch.optim.Adam(mlp().parameters())
    content = {
        "model": state,
        "optimizer": {"lr": optimiser.param_groups[0]["lr"], "moment": torch.ones(3)},
        "epoch": 4,
    }
    from torch.distributed import checkpoint as dcp  # here, since it takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it saves in a single process
        dcp.save(content, checkpoint_id=folder)
    return state


@pytest.fixture
def sharded(tmp_path) -> tuple[Path, Weights]:
    return tmp_path / "step", save_sharded(tmp_path / "step")


def test_a_folder_of_torch_distributed_checkpoint(sharded):
    folder, state = sharded
    checkpoint = read_checkpoint(folder)
    assert_holds(load_checkpoint(folder, mlp()), state)
    assert checkpoint.form == "folder of torch.distributed.checkpoint: state_dict nested under 'model', 4 tensors"
    assert len(checkpoint.states) == 1  # the optimiser is not read


def test_metadata_that_names_code_are_refused(sharded):
    folder, _ = sharded
    mark = folder / "mark"

    class Trap:
        def __reduce__(self):
            return exec, (f"open({str(mark)!r}, 'w').close()",)

    (folder / ".metadata").write_bytes(pickle.dumps(Trap()))
    assert "names builtins.exec" in refusal(folder, mlp())
    assert not mark.exists()


@pytest.mark.parametrize(
    "damage", ["a missing shard", "a cut shard", "a flipped bit in a shard", "cut metadata", "other metadata"]
)
def test_damaged_folders_of_torch_distributed_checkpoint(damage, sharded):
    folder, state = sharded
    shard = next(folder.glob("*.distcp"))
    metadata = (folder / ".metadata").read_bytes()
    if damage == "a missing shard":
        shard.unlink()
        assert "is incomplete: it lacks __0_0.distcp" in refusal(folder, mlp())
        return
    if "shard" in damage:
        whole = shard.read_bytes()
        place = whole.index(state["0.weight"].numpy().tobytes())
        cut, flipped = whole[: len(whole) // 3], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        shard.write_bytes(cut if "cut" in damage else flipped)
        assert "is damaged: __0_0.distcp does not match its checksums" in refusal(folder, mlp())
        return
    spoilt = metadata[: len(metadata) // 2] if damage == "cut metadata" else b"\x80\x02N."
    (folder / ".metadata").write_bytes(spoilt)
    assert "is a damaged folder of torch.distributed.checkpoint" in refusal(folder, mlp())


def test_deepspeed_folders(tmp_path):
    step = tmp_path / "run/global_step9"
    step.mkdir(parents=True)
    (tmp_path / "run/latest").write_text("global_step9")
    half = {name: tensor.bfloat16() for name, tensor in weights().items()}
    torch.save({"module": half, "optimizer": None, "config": Config()}, step / "mp_rank_00_model_states.pt")
    torch.save({}, step / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    for folder in (tmp_path / "run", step):
        model = load_checkpoint(folder, mlp())
        assert_holds(model, {name: tensor.float() for name, tensor in half.items()})
        assert read_checkpoint(folder).form.startswith("DeepSpeed folder, mp_rank_00_model_states.pt")

    empty = {name: torch.zeros(0) for name in half}
    torch.save({"module": empty, "param_shapes": []}, step / "mp_rank_00_model_states.pt")
    assert "python zero_to_fp32.py . merged" in refusal(tmp_path / "run", mlp())
    (step / "mp_rank_00_model_states.pt").rename(step / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    said = refusal(tmp_path / "run", mlp())
    assert "cut into pieces (ZeRO stage 3)" in said
    assert f"cd {tmp_path / 'run'} && python zero_to_fp32.py . merged" in said
    for rank in (0, 1):
        torch.save({"module": half}, step / f"mp_rank_0{rank}_model_states.pt")
    (step / "zero_pp_rank_0_mp_rank_00_model_states.pt").unlink()
    assert "2 pieces (tensor parallelism)" in refusal(tmp_path / "run", mlp())


# --- adapters ---


class Low(nn.Module):
    """A linear layer with an adapter, its tensors called as PEFT calls them."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base_layer.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, base_layer.out_features, bias=False)})

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


def adapted() -> nn.Sequential:
    net = mlp()
    net[0] = Low(net[0])
    return net


def save_adapter(folder: Path, base: str = "absent/base") -> Weights:
    folder.mkdir()
    state = {
        "base_model.model.0.lora_A.weight": torch.randn(2, 2),
        "base_model.model.0.lora_B.weight": torch.randn(8, 2),
    }
    safetensors.torch.save_file(state, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return state


@pytest.mark.parametrize("place", ["", "adapter_model.safetensors"])
def test_an_adapter_goes_into_a_network_that_has_it(place, tmp_path):
    state = save_adapter(tmp_path / "adapter")
    model = adapted()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    form = put_weights(read_checkpoint(tmp_path / "adapter" / place), model).form
    after = model.state_dict()
    assert torch.equal(after["0.lora_A.default.weight"], state["base_model.model.0.lora_A.weight"])
    assert torch.equal(after["0.lora_B.default.weight"], state["base_model.model.0.lora_B.weight"])
    assert all(torch.equal(after[name], before[name]) for name in before if "lora_" not in name)
    assert "4 tensors of the base network kept as they were built (`scope='lora_'` moves the adapter)" in form
    if not place:
        assert form.startswith("LORA adapter of PEFT, rank 2, base absent/base; ")


def test_an_adapter_without_its_network_says_so(tmp_path, monkeypatch):
    save_adapter(tmp_path / "adapter")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="peft"):
        load_checkpoint(tmp_path / "adapter", mlp())
    assert "holds only an adapter (such as LoRA)" in refusal(tmp_path / "adapter/adapter_model.safetensors", mlp())
    assert "no network to put them into" in refusal(tmp_path / "adapter")
    (tmp_path / "adapter/adapter_config.json").write_text("{")
    assert "cannot be read as JSON" in refusal(tmp_path / "adapter")
    (tmp_path / "adapter/adapter_config.json").write_text("[]")
    assert "must hold a JSON object, not list" in refusal(tmp_path / "adapter")


def test_an_adapter_that_peft_cannot_put_into_its_network_says_why(tmp_path, monkeypatch):
    """A stand-in for peft, which need not be installed: it raises as peft does for a network of other layers."""

    def refuse(config: object, model: nn.Module) -> None:
        raise ValueError("Target modules {'q_proj'} not found in the base model.")

    peft = SimpleNamespace(
        __version__="0.1", inject_adapter_in_model=refuse, PeftConfig=SimpleNamespace(from_pretrained=lambda folder: {})
    )
    monkeypatch.setitem(sys.modules, "peft", peft)
    save_adapter(tmp_path / "adapter")
    said = refusal(tmp_path / "adapter", mlp())
    assert f"peft 0.1 cannot put the adapter {tmp_path / 'adapter'} into Sequential: ValueError: Target modules" in said
    assert "Pass the base network that it was trained for" in said


def test_an_adapter_besides_its_base_is_no_mere_extra(tmp_path):
    torch.save(weights() | {"0.lora_A": torch.ones(2, 2)}, tmp_path / "net.pt")
    assert "holds an adapter (such as LoRA) besides these weights" in refusal(tmp_path / "net.pt", mlp())


# --- weights that mean something else ---


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"0.weight": torch.ones(8, 2, dtype=torch.int8), "0.SCB": torch.ones(8)}, "quantised"),
        ({"0.weight": torch.ones(16, 1, dtype=torch.uint8), "0.weight.absmax": torch.ones(1)}, "quantised"),
        ({"0.weight": torch.ones(8, 2).to(torch.float8_e4m3fn), "0.weight_scale_inv": torch.ones(1)}, "quantised"),
        ({"0.weight": torch.ones(8, 2, dtype=torch.complex64)}, "complex numbers"),
    ],
)
def test_quantised_weights_are_not_taken_for_numbers(change, said, tmp_path):
    torch.save(weights() | change, tmp_path / "net.pt")
    text = refusal(tmp_path / "net.pt", mlp())
    assert said in text
    assert "different shape (1)" in text or "different shape" not in text


# --- files of other frameworks ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        (b"\x08\x0e\x12\x07pytorch:3\n\x0c\n\x01x", "an ONNX graph"),
        (b"\x08\x0e:3\n\x0c\n\x01x", "an ONNX graph"),
        (b"\x81\xa6params\x81\xa7Dense_0\x81\xa6kernel\xc7", "flax (JAX)"),
        (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        (b"BZh91AY", "bunzip2"),
        (b"a" * 257 + b"ustar\x0000", "tar -xf"),
    ],
)
def test_files_of_other_frameworks_are_named(content, said, tmp_path):
    (tmp_path / "model").write_bytes(content)
    assert said in refusal(tmp_path / "model", mlp())


def test_keras_files_are_named(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["keras_version"] = "3.0"
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    for name in ("weights.h5", "model.keras"):
        assert "a Keras (TensorFlow) model" in refusal(tmp_path / name, mlp())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("saved_model.pb", "TensorFlow SavedModel"),
        ("manifest.ocdbt", "Orbax"),
        ("flax_model.msgpack", "flax (JAX) only"),
        ("model.ckpt-5.data-00000-of-00001", "TensorFlow checkpoint"),
    ],
)
def test_folders_of_other_frameworks_are_named(name, said, tmp_path):
    (tmp_path / name).touch()
    assert said in refusal(tmp_path, mlp())


def test_messages_of_torch_end_with_a_sentence(tmp_path):
    path = tmp_path / "net.pt"
    with path.open("wb") as file:
        torch.save(weights(), file, pickle_protocol=5)
    with pytest.warns(UserWarning, match="pickle protocol"):
        said = refusal(path, mlp())
    assert not said.partition("\n")[0].rstrip(". )").endswith(("checkpoint f", "of the"))


def test_a_layer_called_scales_beside_plain_weights_is_no_sign_of_quantised_ones(tmp_path):
    net = nn.Linear(8, 2)
    state = {**net.state_dict(), "head.scales.0.scale": torch.ones(1)}
    torch.save(state, tmp_path / "net.pt")
    loaded = load_checkpoint(tmp_path / "net.pt", nn.Linear(8, 2))
    assert torch.equal(loaded.weight, net.weight)


def test_arrays_of_numpy_and_sparse_tensors_are_weights(tmp_path):
    net = mlp()
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    sparse = {name: tensor.to_sparse() for name, tensor in net.state_dict().items()}
    for form in ({"model": arrays, "log": np.ones(3)}, sparse):
        torch.save(form, tmp_path / "net.pt")
        loaded = load_checkpoint(tmp_path / "net.pt", mlp())
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), net.parameters(), strict=True))
