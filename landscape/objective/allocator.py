"""Memory that is freed and wanted again at once: keep it, rather than give it back to the system in between."""

from __future__ import annotations

from functools import cache

import torch

_LARGEST = 31 * 2**20  # glibc takes no mapping above 32 MiB as a lesson


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to about 64 MB of freed memory for what is allocated next.

    Activations of points evaluated together are tensors of a few hundred kilobytes, allocated and freed many times a
    second. glibc maps each anew and gives it back, and every page costs a fault, which took half of the time on the
    machine that this was measured on. It learns from the sizes that it sees freed (M_MMAP_THRESHOLD in mallopt(3)), so
    one large tensor, never written to and dropped at once, is enough for the life of the process. With other C
    libraries nothing happens.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)
