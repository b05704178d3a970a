"""Folders of DeepSpeed: ``latest`` names the folder of a step, which holds ``mp_rank_00_model_states.pt``.

Under ZeRO stage 1 and 2 that file holds the whole weights of the network, in the precision of the training. Under
stage 3 they are cut into pieces that only DeepSpeed's own script puts together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from landscape.checkpoint.pickles import Loaded, load_pickle
from landscape.errors import CheckpointError

_MODEL = "mp_rank_*_model_states.pt"
_SHARDS = "zero_pp_rank_*_model_states.pt"
_LAYERS = "layer_*-model_*states.pt"


def step_folder(folder: Path) -> Path | None:
    """Return the folder with the files of a step, this one or the one that ``latest`` names; None if there is none."""
    folders = [folder]
    latest = folder / "latest"
    if latest.is_file() and latest.stat().st_size < 1000:
        name = latest.read_text(errors="replace").strip()
        folders += [folder / name] if name and Path(name).name == name else []
    for place in folders:
        if any(next(place.glob(pattern), None) for pattern in (_MODEL, _SHARDS, _LAYERS)):
            return place
    return None


def read_deepspeed(folder: Path, step: Path, *, unsafe: bool) -> tuple[Loaded, str]:
    """Return the network's part of a DeepSpeed folder, and a line that says how it was stored.

    Raises:
        CheckpointError: if the weights are cut into pieces (ZeRO stage 3, tensor or pipeline parallelism).
    """
    files = sorted(step.glob(_MODEL))
    script = f"cd {folder} && python zero_to_fp32.py . merged"
    if not files or next(step.glob(_SHARDS), None):
        stage = "pipeline parallelism" if next(step.glob(_LAYERS), None) else "ZeRO stage 3"
        how = f"Put them together first, with the script that DeepSpeed left: {script}\nThen measure what it wrote."
        raise CheckpointError(
            f"{step} is a DeepSpeed checkpoint whose weights are cut into pieces ({stage}).\n"
            + (how if stage.startswith("ZeRO") else "Put them together first, with DeepSpeed's ds_to_universal.")
        )
    if len(files) > 1:
        raise CheckpointError(
            f"{step} is a DeepSpeed checkpoint whose layers are cut into {len(files)} pieces (tensor parallelism). Put "
            "them together first, with the tools of the training's framework, and measure what they write."
        )
    loaded = load_pickle(files[0], unsafe=unsafe)
    module = loaded.content.get("module") if isinstance(loaded.content, Mapping) else None
    if _is_partitioned(module, loaded.content):
        raise CheckpointError(
            f"{files[0]} holds no weights of its own (ZeRO stage 3 keeps them in pieces).\n"
            f"Put them together first: {script}\nThen measure what it wrote."
        )
    return loaded, (
        f"DeepSpeed folder, {files[0].name} (in the precision of the training; zero_to_fp32.py writes the "
        "optimiser's float32 copies)"
    )


def _is_partitioned(module: Any, content: Any) -> bool:
    """Whether the weights are empty stand-ins for pieces elsewhere."""
    if module is None:
        return isinstance(content, Mapping) and "param_shapes" in content
    if not isinstance(module, Mapping):
        return False
    tensors = [value for value in module.values() if isinstance(value, Tensor)]
    return bool(tensors) and all(tensor.numel() == 0 for tensor in tensors if tensor.is_floating_point())
