"""What several ranks change: the numbers, which must stay, and the resident memory of a rank, which must fall.

    python -m benchmarks.ranks        (a few minutes; add --write to put the section into docs/benchmarks.md)

Every row is measured in fresh processes over gloo, each with one thread. The model is a chain of linear layers. No rank
ever makes all of it when it is sharded. Memory is the peak that the operating system counts, beyond what the process
held before the model was made.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import landscape as ls
from benchmarks.page import command_line, put_section
from landscape import distributed
from landscape.objective.shards.model import local_of

HEADING = "Several ranks"
WIDTH, LAYERS, SAMPLES = 1024, 16, 16
SMALL = 8  # width of the net that loads the libraries before memory is counted
RUNS = ((1, "one process"), (2, "fsdp"), (4, "fsdp"), (2, "ddp"), (4, "ddp"))
_MiB = 2**20


def peak() -> int:
    """Return the largest resident memory of this process so far, in bytes, and begin a new count."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def build(kind: str, width: int, count: int) -> nn.Module:
    """Return a chain of ``count`` layers; under FSDP a rank makes one layer at a time and keeps its shard."""
    with torch.device("meta" if kind == "fsdp" else "cpu"):
        layers = [nn.Linear(width, width) for _ in range(count)]
    model = nn.Sequential(*(module for layer in layers for module in (layer, nn.Tanh())))
    if kind == "fsdp":
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        model.to_empty(device="cpu")
    for number, layer in enumerate(layers):
        generator = torch.Generator().manual_seed(number)
        whole = torch.randn(width, width, generator=generator).mul_(width**-0.5)
        own = local_of(layer.weight)
        rows = -(-width // dist.get_world_size()) if kind == "fsdp" else width
        first = rows * dist.get_rank() if kind == "fsdp" else 0
        with torch.no_grad():
            own.copy_(whole[first : first + rows])
            layer.bias.zero_()
    return nn.parallel.DistributedDataParallel(model) if kind == "ddp" else model


def measure(kind: str) -> dict[str, Any]:
    """Return the numbers and the memory of this rank."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with distributed.spread():
        numbers(kind, SMALL, 1)
        before = peak()
        row = numbers(kind, WIDTH, LAYERS)
    dist.destroy_process_group()
    return {name: value - before if name.endswith("bytes") else value for name, value in row.items()}


def numbers(kind: str, width: int, count: int) -> dict[str, Any]:
    """Return the losses of a slice, the samples of a trace, and the peak of memory in each."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, width, generator=generator)
    y = torch.randint(width, (SAMPLES,), generator=generator)
    objective = ls.Objective(build(kind, width, count), (x, y), batch_size=SAMPLES // 2, lanes=1)
    peak()
    row: dict[str, Any] = {"slice": ls.slice_1d(objective, steps=3).loss.tolist(), "slice bytes": peak()}
    row["trace"] = ls.trace(ls.Hessian(objective, check=False), 2).samples.tolist()
    return row | {"trace bytes": peak()}


def in_processes(ranks: int, kind: str) -> list[dict[str, Any]]:
    """Measure on so many fresh processes and return what each found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for rank in range(ranks):
            told = {"WORLD_SIZE": str(ranks), "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            command = [sys.executable, "-m", "benchmarks.ranks", "--rank", kind, "--into", f"{folder}/{rank}.json"]
            running.append(subprocess.Popen(command, env={**os.environ, **told, "OMP_NUM_THREADS": "1"}))
        if any(process.wait() for process in running):
            raise SystemExit(f"a rank of {kind} failed")
        return [json.loads(Path(f"{folder}/{rank}.json").read_text()) for rank in range(ranks)]


def section() -> list[str]:
    """Measure all rows and return the lines of the section."""
    size = LAYERS * (WIDTH + 1) * WIDTH * 4 / _MiB
    lines = [
        f"A chain of {LAYERS} linear layers of width {WIDTH:,}, {size:.0f} MiB of parameters, {SAMPLES} samples in 2 "
        "batches, over gloo on one machine.",
        "Memory is the largest of all ranks, beyond what the process held before the model.",
        "`python -m benchmarks.ranks --write`",
        "",
        "| ranks | model | memory of a slice, MiB | memory of a trace, MiB | difference of the losses | of the trace |",
        "|---|---|---|---|---|---|",
    ]
    found = {(ranks, kind): in_processes(ranks, kind) for ranks, kind in RUNS}
    whole = found[RUNS[0]][0]
    for (ranks, kind), rows in found.items():
        memory = [max(row[name] for row in rows) / _MiB for name in ("slice bytes", "trace bytes")]
        apart = [max(difference(row[name], whole[name]) for row in rows) for name in ("slice", "trace")]
        lines.append(f"| {ranks} | {kind} | {memory[0]:.0f} | {memory[1]:.0f} | {apart[0]:.1g} | {apart[1]:.1g} |")
    return [*lines, ""]


def difference(one: list[float], other: list[float]) -> float:
    """Return the largest difference, relative to the largest value."""
    return float(np.abs(np.subtract(one, other)).max() / np.abs(other).max())


def main() -> None:
    """Print the section, or measure as one of the ranks."""
    parser = command_line(__doc__)
    parser.add_argument("--write", action="store_true", help="put the section into docs/benchmarks.md")
    parser.add_argument("--rank", metavar="KIND", help="be one rank of a row")
    parser.add_argument("--into", type=Path, help="where a rank writes what it found")
    asked = parser.parse_args()
    if asked.rank:
        asked.into.write_text(json.dumps(measure(asked.rank)))
        return
    lines = section()
    if asked.write:
        put_section(HEADING, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
