"""A set of weights compared with a model, and what is likely wrong if they differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from landscape.checkpoint.adapters import holds_adapter, is_adapted
from landscape.checkpoint.search import State

#: names of what a quantised layer keeps besides its integers
_SCALES = re.compile(
    r"(^|[._])(scb|absmax|nested_absmax|quant_map|quant_state|qweight|qzeros|scales|g_idx|zero_point|zero_points"
    r"|weight_scale|weight_scale_inv|weight_zero_point|packed_params|weight_packed)($|[._])",
    re.IGNORECASE,
)
#: names of what weight norm, spectral norm and pruning keep in the place of a weight
_PARAMETRISED = re.compile(r"\.parametrizations\.|weight_(orig|mask|[guv])$|bias_(orig|mask)$")
_PART = re.compile(r"(\d+)-of-(\d+)")
_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Match:
    """One set of weights compared with a model.

    Attributes:
        state: the weights.
        removed, added: prefix removed from the names in the file, and prefix put in front of them.
        tensors: name in the model -> tensor; a name that only the file has stays as it is.
        missing: names that only the model has.
        unexpected: names that only the file has.
        mismatched: names whose shapes differ.
        ignored: number of tensors outside the prefix.
        alternatives: where in the file other weights lie that fit too and were not taken.
        base: for an adapter, number of tensors of the base network, which keep their values.
    """

    state: State
    removed: str
    added: str
    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    ignored: int
    alternatives: tuple[str, ...] = ()
    base: int = 0

    @property
    def problems(self) -> int:
        """Number of the model's tensors that this leaves without their values."""
        return len(self.missing) + len(self.mismatched)

    def renamed(self) -> str:
        """Return how the names were changed, in words that follow those of the state; empty if they were not."""
        line = f", prefix '{self.removed}' removed" if self.removed else ""
        line += f", prefix '{self.added}' added" if self.added else ""
        line += f", {self.ignored} tensors outside it left out" if self.ignored else ""
        if self.unexpected and not self.problems:
            line += f", {len(self.unexpected)} tensors that the network lacks left out ({listed(self.unexpected, 3)})"
        if self.base:
            line += (
                f", {self.base} tensors of the base network kept as they were built (`scope='lora_'` moves the adapter)"
            )
        if self.alternatives:
            others = " and ".join(self.alternatives)
            line += f", taken before those under {others}, which fit too (`weights=...` chooses)"
        return line


def changes_meaning(match: Match, own: Mapping[str, Tensor]) -> bool:
    """Whether the weights would mean something else in this model, although names and shapes may agree."""
    return is_quantised(match, own) or is_adapted(match.unexpected) or _is_complex(match, own)


def _is_complex(match: Match, own: Mapping[str, Tensor]) -> bool:
    return any(v.is_complex() and not own[k].is_complex() for k, v in match.tensors.items() if k in own)


def is_quantised(match: Match, own: Mapping[str, Tensor]) -> bool:
    """Whether the file holds integers with scales in the place of the model's numbers.

    Copied as they are, such integers would be taken for weights.
    """
    parameters = {name: tensor for name, tensor in match.tensors.items() if isinstance(own.get(name), nn.Parameter)}
    if any(
        tensor.is_quantized
        or (not (tensor.is_floating_point() or tensor.is_complex()) and own[name].is_floating_point())
        for name, tensor in parameters.items()
    ):
        return True
    # beside plain numbers for all of the network, "scales" is only a name that some layers have
    plain = not match.problems and all(tensor.element_size() > 1 for tensor in parameters.values())
    return not plain and any(_SCALES.search(name) for name in match.unexpected)


def complaint(match: Match, own: Mapping[str, Tensor], model: nn.Module, states: Sequence[State], path: object) -> str:
    origin = match.state.describe() + match.renamed()
    lines = [f"{path} does not fit the model {type(model).__name__}, which has {len(own)} tensors ({origin})."]
    if match.missing:
        lines.append(f"  missing from the file ({len(match.missing)}): {listed(match.missing)}")
    if match.unexpected:
        lines.append(f"  not in the model ({len(match.unexpected)}): {listed(match.unexpected)}")
    if match.mismatched:
        shapes = [f"{k} file {tuple(match.tensors[k].shape)} model {tuple(own[k].shape)}" for k in match.mismatched]
        lines.append(f"  different shape ({len(shapes)}): {listed(shapes)}")
    lines.append("Likely cause: " + _likely_cause(match, own, path))
    others = [state.describe() for state in states if state is not match.state]
    if others:
        lines.append(f"The file also holds: {'; '.join(others[:3])}; none of it fits better.")
    return "\n".join(lines)


def _likely_cause(match: Match, own: Mapping[str, Tensor], path: object) -> str:
    arguments = "Pass the arguments it was trained with: `model_args=...`."
    shared = sum(name in own for name in match.tensors)
    if holds_adapter(match.tensors) and not is_adapted(own):
        return (
            "the file holds only an adapter (such as LoRA), and this is its base network, or another one. Pass the "
            "adapter's folder, with adapter_config.json in it, or a `model=...` that has the adapter."
        )
    if is_quantised(match, own):
        return (
            "the weights in the file are quantised (integers with scales), which cannot move. Measure the network as "
            "it was before quantisation, or save it dequantised."
        )
    if is_adapted(match.unexpected):
        return (
            "the file holds an adapter (such as LoRA) besides these weights. Pass a `model=...` that has it, or merge "
            "it."
        )
    if _is_complex(match, own):
        return "the file holds complex numbers where the model has real ones: another variant of the architecture."
    if cause := _cause_in_names(match, path):
        return cause
    if match.mismatched:
        shapes = [(match.tensors[name].shape, own[name].shape) for name in match.mismatched]
        if len(shapes) <= 2 and all(a[1:] == b[1:] for a, b in shapes):
            return (
                f"another number of outputs (classes): {shapes[0][0][0]} in the file, {shapes[0][1][0]} in the model. "
                + arguments
            )
        return f"the model was built with other arguments (width, input size, number of classes). {arguments}"
    if shared == 0:
        return (
            "the names have nothing in common: another architecture, or a wrapper around the model whose prefix could "
            "not be told. Compare the names above, and pass the model they belong to."
        )
    if match.missing and not match.unexpected:
        return f"the model is deeper than the file's, or has layers added since. {arguments}"
    return f"another variant of the architecture. {arguments}"


def _cause_in_names(match: Match, path: object) -> str:
    """Return the cause that the names of tensors or of the file tell; empty if they tell none."""
    part = _PART.search(str(path).replace("\\", "/").rpartition("/")[2])
    if part and match.missing and int(part[2]) > 1:
        return (
            f"this file is part {int(part[1])} of {int(part[2])}. Pass the folder that holds all parts, or its "
            "`.index.json`."
        )
    if any(map(_PARAMETRISED.search, match.unexpected)) and not any(map(_PARAMETRISED.search, match.missing)):
        return (
            "weights in the file are parametrised (weight norm, spectral norm or pruning), and those of the model are "
            "not. Pass a `model=...` that is parametrised too, or remove the parametrisation before saving."
        )
    if any(map(_PARAMETRISED.search, match.missing)) and not any(map(_PARAMETRISED.search, match.unexpected)):
        return (
            "weights of the model are parametrised (weight norm, spectral norm or pruning), and those in the file are "
            "not. Pass a `model=...` without the parametrisation."
        )
    if match.missing and all(name.endswith(_STATISTICS) for name in match.missing):
        return (
            "the file holds no running statistics of BatchNorm: only parameters were saved, or the layers had "
            "track_running_stats=False. Save model.state_dict(), or pass a `model=...` without them."
        )
    return ""


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return names with commas between them; those beyond ``most`` are counted."""
    return ", ".join(names[:most]) + (f", ... ({len(names) - most} more)" if len(names) > most else "")
