"""Adapters of PEFT (LoRA and its kin): a few tensors that go with a base network.

A folder of PEFT holds ``adapter_config.json`` and ``adapter_model.safetensors``. The names in it lack what PEFT puts
into the names of a network: ``base_model.model.fc.lora_A.weight`` in the file is ``fc.lora_A.default.weight`` there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landscape.errors import CheckpointError, MissingExtraError, type_and_line

CONFIG = "adapter_config.json"
_ADAPTER = re.compile(r"(^|\.)(lora_|hada_|lokr_|ia3_l|oft_|boft_|vera_lambda|randlora_|fourierft_|prompt_embeddings)")
_BASE = "base_model.model."
_ADDED = ("default", "modules_to_save")  #: parts that PEFT adds to the names of a network


def holds_adapter(names: Iterable[str]) -> bool:
    """Whether the names of tensors are those of an adapter alone, without its base network.

    >>> holds_adapter(["base_model.model.fc.lora_A.weight"]), holds_adapter(["fc.weight", "fc.lora_A"])
    (True, False)
    """
    names = list(names)
    return any(map(_ADAPTER.search, names)) and all(n.startswith(_BASE) or _ADAPTER.search(n) for n in names)


def is_adapted(names: Iterable[str]) -> bool:
    """Whether a network with these names has an adapter in it.

    >>> is_adapted(["fc.base_layer.weight", "fc.lora_A.default.weight"])
    True
    """
    return any(map(_ADAPTER.search, names))


def name_in_network(names: Iterable[str]) -> dict[str, str]:
    """Return the name in a file of PEFT -> the name in the network, for the names of a network with an adapter.

    >>> name_in_network(["base_model.model.fc.lora_A.default.weight"])
    {'fc.lora_A.weight': 'base_model.model.fc.lora_A.default.weight'}
    """
    return {plain_name(".".join(part for part in name.split(".") if part not in _ADDED)): name for name in names}


def plain_name(name: str) -> str:
    """Return a name in a file of PEFT without the prefix of its base network."""
    return name.removeprefix(_BASE)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings in a folder of PEFT.

    Raises:
        CheckpointError: if they are damaged.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read as JSON: {type_and_line(error)}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG} must hold a JSON object, not {type(config).__name__}.")
    return config


def describe(config: Mapping[str, Any]) -> str:
    """Return what an adapter is, in a few words."""
    rank = f", rank {config['r']}" if "r" in config else ""
    return f"{config.get('peft_type', 'unknown')} adapter of PEFT{rank}, base {config.get('base_model_name_or_path')}"


def add_adapter(model: nn.Module, folder: Path) -> None:
    """Put the layers of an adapter, still without its weights, into its base network, in place.

    Raises:
        MissingExtraError: if the package peft is not installed.
        CheckpointError: if peft cannot put them into this network.
    """
    try:
        import peft
    except ImportError:
        raise MissingExtraError("peft", "peft", f"putting the adapter {folder} into its base network") from None
    try:
        peft.inject_adapter_in_model(peft.PeftConfig.from_pretrained(str(folder)), model)
    except Exception as error:  # peft raises nearly anything for settings that do not fit a network
        raise CheckpointError(
            f"peft {peft.__version__} cannot put the adapter {folder} into {type(model).__name__}: "
            f"{type_and_line(error)}\nPass the base network that it was trained for: `model='pkg.mod:factory'`."
        ) from error


def match_adapter(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the tensors of an adapter by their names in a network; None if one has no place or another shape there."""
    places = name_in_network(own)
    named = {places.get(plain_name(name), ""): tensor for name, tensor in tensors.items()}
    fits = len(named) == len(tensors) and all(
        name in own and own[name].shape == tensor.shape for name, tensor in named.items()
    )
    return named if fits else None
