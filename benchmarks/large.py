"""Memory and time of large models: slices and radii against bare forward passes, and directions by entry.

``python -m benchmarks.large gpt2`` and ``python -m benchmarks.large llama`` print the tables of
``docs/large-models.md``; ``python -m benchmarks.large doctor`` times ``landscape doctor`` of that Llama, and
``python -m benchmarks.large normals`` the generator alone.

Each case runs in a fresh process. Its peak memory is what the operating system saw (``VmHWM``) after the model was
made. Times are of the processor, on as many threads as torch takes: ``OMP_NUM_THREADS=1`` makes them comparable. Bare
passes are timed before and after a measurement in the same process, and the fastest counts. ``doctor`` prints seconds
on the clock as well.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks.page import ROOT
from benchmarks.zoo.operators import declare_missing_operators
from landscape import Objective, basin_radii, slice_1d
from landscape.rays.entries import levels

_MiB = 2**20
_NORMALS = 2**25
CASES = {"gpt2": ("bare", "slice", "radii", "slice of longer text"), "llama": ("bare", "slice", "radii")}
TASK = """
import landscape
from benchmarks.large import llama


def task():
    model, data = llama(1, 128, filled=False)
    return landscape.Task(model=model, data=data, loss="model")
"""
_BARE = """
import json
import time

import torch

import landscape
import task

made = task.task()
landscape.load_checkpoint("model.pt", made.model)
seconds = []
for _ in range(3):
    started = time.perf_counter(), time.process_time()
    with torch.no_grad():
        made.model(**made.data)
    seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
wall, processor = min(seconds)
print(json.dumps({"wall": wall, "processor": processor, "threads": torch.get_num_threads()}))
"""
_TILE = 2**20  # entries of random weights that are repeated: making a billion would take a minute


def gpt2(samples: int, tokens: int) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Return GPT-2 small with random weights, and random text."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    ids = torch.randint(0, 50257, (samples, tokens))
    return GPT2LMHeadModel(GPT2Config()).eval(), {"input_ids": ids, "labels": ids}


def llama(samples: int, tokens: int, *, filled: bool = True) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Return a Llama of 1.1 billion parameters in bfloat16 with random weights, and random text.

    Args:
        samples, tokens: of the text.
        filled: whether its matrices get values; a checkpoint may bring them.
    """
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, vocab_size=32000, max_position_embeddings=2048,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    try:
        with (
            mock.patch.object(nn.Linear, "reset_parameters", return_value=None),
            mock.patch.object(nn.Embedding, "reset_parameters", return_value=None),
            mock.patch.object(PreTrainedModel, "_init_weights", return_value=None),
        ):
            model = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    tile = (0.02 * torch.randn(_TILE)).bfloat16()
    for parameter in model.parameters() if filled else ():
        if parameter.dim() > 1:
            for piece in parameter.data.view(-1).split(_TILE):
                piece.copy_(tile[: len(piece)])
    ids = torch.randint(0, 32000, (samples, tokens))
    return model, {"input_ids": ids, "labels": ids}


def measure(model_name: str, case: str) -> dict[str, Any]:
    """Return what one case takes: processor seconds of an evaluation and of a bare pass, and bytes."""
    declare_missing_operators("torchvision")
    samples, tokens = {"gpt2": (4, 64), "llama": (1, 128)}[model_name]
    if case == "slice of longer text":
        samples, tokens = 4, 512
    model, data = {"gpt2": gpt2, "llama": llama}[model_name](samples, tokens)
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    loaded = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here

    def bare() -> None:
        with torch.no_grad():
            model(**data).loss.item()

    passes = [seconds(bare) for _ in range(3)]
    row = {"model": model_name, "case": case, "bytes": size, "loaded": loaded}
    if case == "bare":
        return row | {"bare": min(passes), "peak": memory("VmHWM")}
    started = time.process_time()
    objective = Objective(model, data, "model")
    row["objective"] = time.process_time() - started
    started = time.process_time()
    if case == "radii":
        rays = {"gpt2": 4, "llama": 2}[model_name]
        found = basin_radii(objective, [0.1], criterion="rise", directions=rays, first_step=0.25)
        row["evaluations"] = found.cost.evaluations
    else:
        line = slice_1d(objective, steps={"gpt2": 11, "llama": 5}[model_name], span=0.5)
        row["evaluations"] = line.cost.evaluations
    row["seconds"] = time.process_time() - started
    row["peak"] = memory("VmHWM")
    return row | {"bare": min([*passes, *(seconds(bare) for _ in range(2))])}


def memory(what: str) -> int:
    """Return bytes that the operating system counts for this process: ``VmRSS`` now, or ``VmHWM`` at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table; memory and time also relative to bare passes of the same run."""
    bare = next(row for row in rows if row["case"] == "bare")
    lines = [
        "| case | evaluations | seconds each | of a bare pass | peak, MiB | of the bare peak | beyond the model |",
        "|---|---|---|---|---|---|---|",
        f"| bare passes | | {bare['bare']:.2f} | | {bare['peak'] / _MiB:,.0f} | | "
        f"{(bare['peak'] - bare['loaded']) / bare['bytes']:.2f} |",
    ]
    for row in rows:
        if row["case"] != "bare":
            each = row["seconds"] / row["evaluations"]
            lines.append(
                f"| {row['case']} | {row['evaluations']:.0f} | {each:.2f} | {each / row['bare']:.2f} | "
                f"{row['peak'] / _MiB:,.0f} | {row['peak'] / bare['peak']:.2f} | "
                f"{(row['peak'] - row['loaded']) / row['bytes']:.2f} |"
            )
    return "\n".join(lines)


def doctor(task: str = TASK, make: Callable[[int, int], tuple[nn.Module, Any]] = llama) -> str:
    """Return what ``landscape doctor`` of the Llama takes, next to a bare pass in a process of its own.

    Args:
        task: text of the task's file, which may import ``benchmarks``.
        make: returns the model whose checkpoint is examined.

    Raises:
        SystemExit: if a check of the doctor fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.save(make(1, 128)[0].state_dict(), f"{folder}/model.pt")
        Path(folder, "task.py").write_text(task)
        options = ["doctor", "model.pt", "--task", "task.py", "--criterion", "rise", "--json"]
        examined = child(["-c", "from landscape_cli.main import main; main()", *options], folder)
        report = json.loads(examined.printed)
        if failed := [f"{check['name']}: {check['text']}" for check in report["checks"] if not check["passed"]]:
            raise SystemExit("the doctor failed\n" + "\n".join(failed))
        bare = json.loads(child(["-c", _BARE], folder).printed)
    return (
        f"doctor: {examined.wall:.1f} s, {examined.processor:.1f} s of the processor, {examined.peak / _MiB:,.0f} MiB; "
        f"a bare pass: {bare['wall']:.1f} s, {bare['processor']:.1f} s of the processor; {bare['threads']} threads"
    )


@dataclass(frozen=True)
class Child:
    """A process that ended well: what it printed, its seconds on the clock and of the processor, its bytes."""

    printed: str
    wall: float
    processor: float
    peak: int


def child(arguments: list[str], folder: str) -> Child:
    """Run Python in a folder, where it finds ``benchmarks`` as this process does.

    The operating system keeps one peak for all children: the largest so far.

    Raises:
        SystemExit: if it fails.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"a child ended with exit code {done.returncode}: {shlex.join(arguments)}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Child(done.stdout, wall, processor, after.ru_maxrss * 1024)


def normals() -> str:
    """Return how many normals a second one core makes, at best of five runs."""
    best = min(seconds(lambda: levels(0, 0, 0, _NORMALS)) for _ in range(5))
    return f"{_NORMALS / best / 1e6:,.0f} million normals a second on one core"


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "gpt2"
    if name == "normals":
        torch.set_num_threads(1)
        print(normals())
        return
    if name == "doctor":
        print(doctor())
        return
    if len(sys.argv) > 2:
        print(json.dumps(measure(name, sys.argv[2])))
        return
    rows = []
    for case in CASES[name]:
        with tempfile.TemporaryFile("w+") as out:
            subprocess.run([sys.executable, "-m", "benchmarks.large", name, case], stdout=out, check=True)
            out.seek(0)
            rows.append(json.loads(out.read().splitlines()[-1]))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
