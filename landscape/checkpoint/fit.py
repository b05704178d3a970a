"""Put weights into a model: match the names, compare the shapes, and say what is likely wrong if they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from landscape.checkpoint.adapters import holds_adapter, match_adapter
from landscape.checkpoint.match import Match, changes_meaning, complaint, listed
from landscape.checkpoint.search import WRAPPERS, State, is_secondary
from landscape.errors import CheckpointError

_USUAL_PREFIXES = ("", "model.", "net.", "network.", "module.")

_Ties = dict[str, list[str]]


def load_into(model: nn.Module, states: Sequence[State], path: object) -> Match:
    """Put the weights that fit best into ``model``, in place, and return how they were matched.

    If a file holds several sets of weights, the first that fits is taken. Tensors that only the file has are left out.
    Values are converted to the model's dtype. Tied parameters stay tied. A model on the meta device takes the tensors
    themselves. Counters of BatchNorm batches may be missing, as they are in files older than torch 0.4.1: nothing
    depends on them in evaluation mode.

    Raises:
        CheckpointError: if names or shapes do not agree.
    """
    own = {k: v for k, v in model.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}
    if holds_adapter(states[0].tensors) and (adapter := _load_adapter(model, states[0], own)):
        return adapter
    ties = _ties(own)
    matches = [match for state in states for match in _matches(state, own, ties)]
    best = min(matches, key=lambda match: (match.problems, len(match.unexpected)))
    _check_ambiguity(best, matches, path)
    if best.mismatched or changes_meaning(best, own):
        raise CheckpointError(complaint(best, own, model, states, path))
    on_meta = any(tensor.is_meta for tensor in own.values())
    tensors = {k: v.to_dense() if k in own and _is_sparser(v, own[k]) else v for k, v in best.tensors.items()}
    if any(map(_is_distributed, own.values())):
        tensors = {k: _distributed(v, own[k]) if k in own else v for k, v in tensors.items()}
    if on_meta:
        tensors = {k: v.to(own[k].dtype) if k in own else v for k, v in tensors.items()}
    try:
        report = model.load_state_dict(tensors, strict=False, assign=on_meta)
    except RuntimeError as error:
        raise CheckpointError(f"{path} cannot be put into {type(model).__name__}: {error}") from error
    # the model's own hooks may have renamed what looked wrong above, so its report decides
    missing = tuple(name for name in report.missing_keys if not _may_miss(name, ties, tensors))
    best = replace(best, missing=missing, unexpected=tuple(report.unexpected_keys))
    if missing:
        raise CheckpointError(complaint(best, own, model, states, path))
    if on_meta:
        _tie(model, ties)
        _check_meta(model)
    others = {m.state.place: None for m in matches if m.state is not best.state and not m.problems}
    return replace(best, alternatives=tuple(others))


def _is_sparser(value: Tensor, own: Tensor) -> bool:
    return value.layout != torch.strided and own.layout == torch.strided


def _is_distributed(tensor: Tensor) -> bool:
    """Whether ranks hold parts of a tensor (a DTensor)."""
    return hasattr(tensor, "device_mesh")


def _distributed(value: Tensor, own: Tensor) -> Tensor:
    """Return the part of a whole tensor that this rank holds of its own one; each rank has read the same file."""
    if not _is_distributed(own):
        return value
    from torch.distributed.tensor import distribute_tensor  # needs a torch with torch.distributed

    mesh, placements = own.device_mesh, own.placements  # type: ignore[attr-defined]
    # torch 2.6 has no such option: there rank 0 sends the others their parts, which are the same
    alone: dict[str, Any] = (
        {"src_data_rank": None} if "src_data_rank" in signature(distribute_tensor).parameters else {}
    )
    return distribute_tensor(value.to(own.dtype), mesh, placements, **alone)


def _load_adapter(model: nn.Module, state: State, own: Mapping[str, Tensor]) -> Match | None:
    """Put the tensors of an adapter into a network that has it; None if they do not fit.

    The other tensors of the network are those of its base, and keep their values.
    """
    tensors = match_adapter(state.tensors, own)
    if tensors is None:
        return None
    model.load_state_dict(tensors, strict=False)
    return Match(state, "", "", tensors, (), (), (), 0, base=len(own) - len(tensors))


def _matches(state: State, own: Mapping[str, Tensor], ties: _Ties) -> Iterable[Match]:
    """Yield the ways to read names of the file as names of the model, the simplest first."""
    names = _without_wrappers(own)
    tensors = {name: state.tensors[key] for name, key in _without_wrappers(state.tensors).items()}
    for prefix in _prefixes(tensors, names):
        inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        yield _match(state, prefix, "", inside, names, own, ties, len(tensors) - len(inside))
    for prefix in _prefixes(names, tensors)[1:]:
        yield _match(state, "", prefix, {prefix + k: v for k, v in tensors.items()}, names, own, ties, 0)


def _match(
    state: State,
    removed: str,
    added: str,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    own: Mapping[str, Tensor],
    ties: _Ties,
    ignored: int,
) -> Match:
    """Compare names and shapes; ``names`` maps a name without wrappers to the model's own."""
    loaded = {names.get(name, name): tensor for name, tensor in tensors.items()}
    missing = tuple(name for name in own if name not in loaded and not _may_miss(name, ties, loaded))
    unexpected = tuple(name for name in loaded if name not in own)
    mismatched = tuple(k for k, v in loaded.items() if k in own and not is_lazy(own[k]) and own[k].shape != v.shape)
    return Match(state, removed, added, loaded, missing, unexpected, mismatched, ignored)


def _prefixes(longer: Mapping[str, object], shorter: Mapping[str, object]) -> list[str]:
    """Return "" and the prefixes under which ``longer`` has at least half of ``shorter``'s names, usual ones first."""
    votes: Counter[str] = Counter()
    for name in longer:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            if ".".join(parts[depth:]) in shorter:
                votes[".".join(parts[:depth]) + "."] += 1
    enough = [prefix for prefix, count in votes.items() if 2 * count >= len(shorter) and prefix]

    def order(prefix: str) -> tuple[bool, int, str]:
        usual = _USUAL_PREFIXES.index(prefix) if prefix in _USUAL_PREFIXES else len(_USUAL_PREFIXES)
        return is_secondary(prefix), usual, prefix

    return ["", *sorted(enough, key=order)]


def _without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Return each name without the parts of wrappers -> the name itself; unchanged if two names would coincide."""
    plain = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in names}
    names = list(names)
    return plain if len(plain) == len(names) else {name: name for name in names}


def _may_miss(name: str, ties: _Ties, loaded: Mapping[str, Tensor]) -> bool:
    """Whether a name may be missing: a batch counter, extra state, or a tensor tied to a loaded one."""
    if name.endswith(("num_batches_tracked", "_extra_state")):
        return True
    return any(other in loaded for other in ties.get(name, ()))


def _ties(own: Mapping[str, Tensor]) -> _Ties:
    """Return, for each name that shares its tensor with others, all the names of that tensor."""
    groups: dict[int, list[str]] = {}
    for name, tensor in own.items():
        groups.setdefault(id(tensor), []).append(name)
    return {name: names for names in groups.values() if len(names) > 1 for name in names}


def _tie(model: nn.Module, ties: _Ties) -> None:
    """Tie parameters again after their tensors were replaced."""
    for names in ties.values():
        parameters = [model.get_parameter(name) for name in names]
        kept = next((parameter for parameter in parameters if not parameter.is_meta), parameters[0])
        for name in names:
            owner, _, short = name.rpartition(".")
            setattr(model.get_submodule(owner), short, kept)


def _check_ambiguity(best: Match, matches: Sequence[Match], path: object) -> None:
    """Refuse to guess between parts of a file that fit a model equally well."""
    if best.problems or best.removed in _USUAL_PREFIXES:
        return
    same = best.problems, len(best.unexpected)
    alike = [m for m in matches if m.state is best.state and (m.problems, len(m.unexpected)) == same]
    fitting = [m.removed for m in alike if not is_secondary(m.removed)]
    if len(fitting) > 1:
        raise CheckpointError(
            f"{path} holds several parts that fit the model equally well: the names under {', '.join(fitting)}.\n"
            "Write the part that you mean to a file of its own, or load it in the file of `task=...`."
        )


def _check_meta(model: nn.Module) -> None:
    """Give batch counters a value, and refuse a model with other tensors that still have none."""
    for owner in model.modules():
        counter = getattr(owner, "num_batches_tracked", None)
        if isinstance(counter, Tensor) and counter.is_meta:
            owner.num_batches_tracked = torch.zeros_like(counter, device="cpu")
    empty = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    if empty:
        raise CheckpointError(
            f"the model was built on the meta device, and the checkpoint holds no value for {listed(empty)}. "
            "Buffers that are not saved with a model are made when it is built.\nBuild the model on the CPU instead."
        )
