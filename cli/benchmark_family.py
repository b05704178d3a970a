"""``landscape benchmark FAMILY``: checkpoints are measured in several processes; each is stored once it is done."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from landscape.errors import LandscapeError, StoreError
from landscape.measures import sharpness
from landscape.ranking.configurations import check_enough
from landscape.ranking.family import Net, check_same_data, find_nets, net_measures, table_of
from landscape.recipes import task_from_record
from landscape.results import NetMeasures, Runs, require_same_config
from landscape.store import Store
from landscape_cli.interrupts import INTERRUPTED, check_pressed
from landscape_cli.next_command import stopped_line
from landscape_cli.processes import processes
from landscape_cli.progress import Display
from landscape_cli.sharpness_run import NAMED, expand, start_of, wanted_measures
from landscape_cli.task import make_objective

PREFIX = "net-"  #: of the names of nets in the results file
_OBJECTIVE = ("task", "model", "model_args", "data", "loss", "output", "weights", "scope", "batch_size", "max_samples",
              "device", "dtype")  # fmt: skip


def family_table(params: Mapping[str, Any], out: Path, command: str) -> Runs:
    """Return the table of a family; the nets that are not in the file yet are measured and stored.

    Args:
        params: the options.
        out: the results file.
        command: what continues this run.
    """
    nets = find_nets(params["family"])
    config = settings_of(params)
    with Store(out, write=True) as store:
        known = stored_nets(store, out, nets, params, config)
        check_family(nets, keep_all=params["keep_all"])
        waiting = [net for net in nets if net.name not in known]
        display = Display(len(nets), len(known), quiet=params["quiet"], unit="nets", words="measuring")
        try:
            with closing(measured(waiting, params, config)) as results:
                for result in results:
                    store[f"{PREFIX}{result.net}"] = known[result.net] = result
                    display.show(len(known), len(nets), f"the last is {result.net}")
        except KeyboardInterrupt:
            display.close()
            done = f"interrupted after {len(known)} of {len(nets)} nets"
            click.echo(stopped_line(done, str(out), command), err=True)
            raise SystemExit(INTERRUPTED) from None
        finally:
            display.close()
    ordered = [known[net.name] for net in nets]
    check_same_data(ordered)
    return table_of(ordered, keep_all=params["keep_all"], test_size=params["test_size"])


def check_family(nets: Sequence[Net], *, keep_all: bool) -> None:
    """Refuse a family that is too small to be ranked, before hours are spent on it.

    Raises:
        LandscapeError: fewer than 20 configurations have a net that counts.
    """
    counted = [net for net in nets if keep_all or net.summary.converged is not False]
    axes = list(dict.fromkeys(name for net in nets for name in net.axes))
    check_enough(len({tuple(net.axes.get(name) for name in axes) for net in counted}), len(counted), axes)


def settings_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that determine the measures, as they are stored."""
    options = {name: params[name] for name in (*_OBJECTIVE, *NAMED, "rho", "start")}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {**plain, "measures": expand(wanted_measures(measure_words(params)))}


def measure_words(params: Mapping[str, Any]) -> str:
    """Return ``--measures`` as ``landscape sharpness`` takes it."""
    return ",".join(params["measures"] or ("core",))


def stored_nets(
    store: Store, out: Path, nets: Sequence[Net], params: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, NetMeasures]:
    """Return the nets in the file that this run keeps, by name.

    Raises:
        LandscapeError: there are some and neither ``--resume`` nor ``--overwrite`` was typed, or they were measured
            with other options or from other weights.
    """
    if params["resume"] and params["overwrite"]:
        raise StoreError("--resume keeps what is stored and --overwrite drops it. Type one of the two.")
    held = [name for name in store if name.startswith(PREFIX)]
    if params["overwrite"]:
        return {}
    if held and not params["resume"]:
        raise StoreError(
            f"{out} already holds {len(held)} nets.\n"
            "Type --resume to keep them and measure what is missing, --overwrite to start over, or another --out."
        )
    known = {}
    for net in nets:
        if f"{PREFIX}{net.name}" not in held:
            continue
        result = store[f"{PREFIX}{net.name}"]
        if not isinstance(result, NetMeasures):
            raise StoreError(f"{out} holds something else under the name {PREFIX}{net.name}. Write to another --out.")
        require_same_config(result.config, {**config, "weights_hash": net.weights_hash}, f"net {net.name}")
        known[net.name] = result
    return known


def measured(
    nets: Sequence[Net], params: Mapping[str, Any], config: Mapping[str, Any]
) -> Generator[NetMeasures, None, None]:
    """Yield the measures of each net as soon as they are taken, ``--jobs`` nets at the same time."""
    jobs = min(params["jobs"] or os.cpu_count() or 1, len(nets))
    if jobs <= 1:
        for net in nets:
            yield measure_net(net, params, config)
            check_pressed()
        return
    with processes(jobs) as pool:
        unfinished = {pool.submit(measure_net, net, params, config) for net in nets}
        try:
            while unfinished:
                check_pressed()
                finished, unfinished = wait(unfinished, timeout=0.2, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BrokenProcessPool as error:
            raise LandscapeError(
                "a process that measured nets was killed, perhaps because the memory is full. Other nets are kept.\n"
                "Continue with `resume=True` and fewer `jobs=...`."
            ) from error


def measure_net(net: Net, params: Mapping[str, Any], config: Mapping[str, Any]) -> NetMeasures:
    """Return the measures of one net; one that cannot be taken is in them with its reason.

    Raises:
        LandscapeError: the checkpoint, its task or its loss cannot be read; the message names the net.
    """
    options = {**params, "checkpoint": str(net.path), "quiet": True}
    try:
        wanted_measures(measure_words(params))  # loads those of a user's file into this process
        objective = make_objective(options)
        start = start_of(options, objective)
        if start is None and net.record is not None:
            untrained = dict(task_from_record(net.record).model.named_parameters())
            start = objective.layout.flatten(untrained, objective.theta.device).detach()
        table = sharpness(
            objective, config["measures"], rho=params["rho"], start=start, **{name: params[name] for name in NAMED}
        )
    except LandscapeError as error:
        raise LandscapeError(f"{net.path}: {error}") from error
    return net_measures(net, objective, table, config)
