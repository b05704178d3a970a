"""Whether entries of parameters share memory: then a step of one moves another, and points would move each alone.

A tied parameter (one ``nn.Parameter`` in two modules) is no such case: it is one parameter with two names. Nor are
tensors that lie side by side in one storage, as the weights of a recurrent layer do.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from landscape.errors import ObjectiveError


def refuse_shared_memory(model: nn.Module) -> None:
    """Refuse parameters that have an entry of memory in common with another parameter, a buffer, or themselves.

    Raises:
        ObjectiveError: it names the two tensors, and says how to tie or to part them.
    """
    buffers = {name for name, _ in model.named_buffers()}
    in_storage: dict[tuple[torch.device, int], list[tuple[str, Tensor]]] = defaultdict(list)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if (address := _address(tensor)) is None:
            continue
        if name not in buffers and _is_expanded(tensor):
            raise ObjectiveError(
                f"the parameter {name} {tuple(tensor.shape)} was made by expand(): some of its entries are one number "
                "in memory, and points would move each alone.\nMake a small parameter and expand it in the forward "
                "pass, or give each entry its own number: nn.Parameter(parameter.detach().clone())."
            )
        in_storage[address].append((name, tensor))
    for neighbours in in_storage.values():
        neighbours.sort(key=lambda held: held[1].data_ptr())
        for i, (name, tensor) in enumerate(neighbours):
            for other, neighbour in neighbours[i + 1 :]:
                if neighbour.data_ptr() >= _end(tensor):
                    break
                if {name, other} <= buffers or not _overlap(tensor, neighbour):
                    continue
                if name in buffers:
                    name, tensor, other, neighbour = other, neighbour, name, tensor
                raise _buffer_error(name, other) if other in buffers else _error(name, tensor, other, neighbour)


def _address(tensor: Tensor) -> tuple[torch.device, int] | None:
    """Return where the storage of a tensor lies; None if it has none, or no entries."""
    if tensor.layout != torch.strided or not tensor.numel():
        return None
    try:
        address = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # a subclass without a storage of its own
        return None
    return (tensor.device, address) if address else None


def _is_expanded(tensor: Tensor) -> bool:
    return any(step == 0 < size - 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True))


def _end(tensor: Tensor) -> int:
    """Return the first address behind a tensor."""
    last = sum(step * (size - 1) for step, size in zip(tensor.stride(), tensor.shape, strict=True))
    return tensor.data_ptr() + (last + 1) * tensor.element_size()


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one storage, the first of which starts first, have an entry in common."""
    width = one.element_size()
    if width != other.element_size():
        return True
    start = one.data_ptr()
    entries = (max(_end(one), _end(other)) - start) // width
    counts = torch.zeros(entries, dtype=torch.uint8)  # columns of one matrix share its range, and no entry
    for tensor in (one, other):
        axes = [(size, step) for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step]
        sizes, steps = zip(*axes, strict=True) if axes else ((), ())
        counts.as_strided(sizes, steps, (tensor.data_ptr() - start) // width).add_(1)
    return bool((counts > 1).any())


def _buffer_error(name: str, buffer: str) -> ObjectiveError:
    return ObjectiveError(
        f"the buffer {buffer} shares memory with the parameter {name}, and points would move the parameter alone.\n"
        f"Read model.{name} in the forward pass instead, or give the buffer its own memory: "
        f'register_buffer("{buffer.rpartition(".")[2]}", value.clone()).'
    )


def _error(name: str, tensor: Tensor, other: str, neighbour: Tensor) -> ObjectiveError:
    same = tensor.shape == neighbour.shape and tensor.stride() == neighbour.stride()
    tied = (
        f"make them one parameter: model.{other} = model.{name}" if same else "keep one, and compute the other from it"
    )
    return ObjectiveError(
        f"the parameters {name} and {other} share memory, and points would move each alone.\n"
        f"If they are tied, {tied}{'' if same else ' in the forward pass'}. If they are not, give one its own memory: "
        f"model.{other} = nn.Parameter(model.{other}.detach().clone())."
    )
