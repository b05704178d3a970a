"""Folders as Hugging Face saves them: config.json and weights, in one file or in shards."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landscape.checkpoint.files import sniff
from landscape.checkpoint.foreign import foreign, foreign_folder
from landscape.checkpoint.pickles import load_pickle
from landscape.checkpoint.search import find_states
from landscape.errors import CheckpointError, MissingExtraError

MODEL_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is a damaged safetensors file ({error}). Copy or download it again.") from error


def read_folder(folder: Path, names: Sequence[str]) -> tuple[dict[str, Tensor], str]:
    """Return the weights in a folder, and a line that says how they were stored.

    Args:
        folder: as Hugging Face saves it.
        names: the files that may hold the weights.

    Raises:
        CheckpointError: if the folder holds no weights under the usual names, or a shard is missing.
    """
    for name in names:
        if (folder / f"{name}.index.json").is_file():
            return _read_shards(folder, f"{name}.index.json")
        if (folder / name).is_file():
            tensors = _read_file(folder / name)
            return tensors, f"Hugging Face folder, {name}, {len(tensors)} tensors"
    files = sorted(entry.name for entry in folder.iterdir())
    if what := foreign_folder(files):
        raise CheckpointError(f"{folder} is {what}")
    shown = ", ".join(files[:8]) + (", ..." if len(files) > 8 else "")
    raise CheckpointError(
        f"{folder} is a folder without {' or '.join(names[:2])} (or their .index.json), which Hugging Face "
        f"writes; it holds {shown or 'nothing'}.\nPass the path of one checkpoint file."
    )


def names_network(folder: Path) -> bool:
    """Whether a folder has a config.json that names a class of transformers."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):  # no such file, or not JSON
        return False
    return isinstance(config, Mapping) and bool(config.get("architectures"))


def base_folder(adapter: Path, config: Mapping[str, Any]) -> Path | None:
    """Return the folder of an adapter's base network: in the working folder or beside it; None if there is none."""
    name = str(config.get("base_model_name_or_path") or "")
    places = [Path(name), adapter / name, adapter.parent / Path(name).name]
    return next((place for place in places if name and os.path.isfile(place / "config.json")), None)


def build_model(folder: Path) -> nn.Module | None:
    """Return the model that a folder's config.json describes, with its weights; None without a config.json.

    Raises:
        MissingExtraError: if the package transformers is not installed.
        CheckpointError: if the config names no class of that package, or weights are missing.
    """
    if not (folder / "config.json").is_file():
        return None
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "transformers", f"building the model of {folder}") from None
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        names = getattr(config, "architectures", None) or []
        architecture = getattr(transformers, names[0], None) if names else None
        if architecture is None:
            named = f"the architecture {names[0]}, which transformers does not have" if names else "no architecture"
            raise CheckpointError(
                f"{folder / 'config.json'} names {named}. "
                "Build the model yourself: `model='pkg.mod:factory'`, or `task=...`."
            )
        model, report = architecture.from_pretrained(
            str(folder), config=config, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"transformers {transformers.__version__} cannot load {folder}: {type(error).__name__}: {error}"
        ) from error
    lacking = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report.get(kind, ()))
    if lacking:
        raise CheckpointError(
            f"{folder} holds no weights that fit {len(lacking)} tensors of {names[0]}, which would be random: "
            f"{', '.join(lacking[:10])}.\nPass a folder that was saved after training, or another `model=...`."
        )
    return model


def _read_shards(folder: Path, index: str) -> tuple[dict[str, Tensor], str]:
    try:
        places: dict[str, Any] = json.loads((folder / index).read_text())["weight_map"]
        shards = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / index} is no index of shards ({type(error).__name__}: {error}).") from error
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise CheckpointError(f"{folder / index} names the shard {shard!r}, which lies outside the folder.")
        if not (folder / shard).is_file():
            raise CheckpointError(
                f"{folder} is incomplete: the shard {shard}, one of {len(shards)}, is missing. Download it too."
            )
        tensors.update(_read_file(folder / shard))
    absent = [name for name in places if name not in tensors]
    if absent:
        raise CheckpointError(f"{folder / index} places {absent[0]} in {places[absent[0]]}, but it is not there.")
    return tensors, f"Hugging Face folder, {len(shards)} shards, {len(tensors)} tensors"


def _read_file(path: Path) -> dict[str, Tensor]:
    kind = sniff(path)
    if kind == "safetensors":
        return read_safetensors(path)
    if kind != "torch":
        raise CheckpointError(foreign(path, kind))
    states = find_states(load_pickle(path, unsafe=False).content)
    if not states:
        raise CheckpointError(f"{path} holds no weights.")
    return states[0].tensors
