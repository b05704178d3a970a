"""What ``--json`` and ``--csv`` print, as pure functions: results -> objects of strict JSON types, or lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from landscape.results import (
    Eigenpairs,
    LayerTraces,
    Line,
    LogDeterminant,
    Plane,
    Radii,
    RayStatus,
    Result,
    SpectralDensity,
    Trace,
    Volume,
)
from landscape.results.base import finite, plain
from landscape.results.best import best_volume

Curvature = Eigenpairs | Trace | LayerTraces | SpectralDensity | LogDeterminant
_CURVATURE_SETTINGS = ("operator", "metric", "scope", "seed", "dimension", "parameters", "samples", "loss", "dtype")
_RADII_SETTINGS = ("criterion", "metric", "scope", "seed", "max_radius", "rtol")
_SLICE_SETTINGS = ("direction", "directions", "metric", "seed", "steps", "span", "scope", "recalibrate_bn", "dimension")
_LEFT_OUT = ("vectors", "samples", "nodes", "weights", "config", "cost", "dimension")  # long, or printed once for all
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def strict_json(value: Any) -> str:
    """Return one JSON document; a NaN or an infinity left in it is an error, since JSON has no word for them."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)


def file_object(described: Mapping[str, Any], results: Mapping[str, Result | None]) -> dict[str, Any]:
    """Return the object of ``landscape show``: the file, and each readable result with its summary if it has one."""
    groups = {}
    for name, result in results.items():
        summary = result_object(result)
        groups[name] = {**described["results"][name], **({"summary": summary} if summary else {})}
    return {**described, "results": groups}


def result_object(result: Result | None) -> dict[str, Any]:
    """Return what the command that measured a result prints for it; nothing if it consists of rays or points."""
    if isinstance(result, Curvature):
        return curvature_object(result)
    return result.summary() if isinstance(result, Volume) else {}


def volumes_object(volumes: Mapping[str, Volume], centre: float) -> dict[str, Any]:
    """Return the object of ``landscape volume``: the best estimate, the loss at the centre, and every estimate by name.

    Args:
        volumes: by estimator.
        centre: the loss at the trained point.
    """
    summaries = {name: volume.summary() for name, volume in volumes.items()}
    best = best_volume(volumes, "this run").summary()
    return {**best, "centre": centre, "volumes": summaries}


def radii_object(radii: Radii) -> dict[str, Any]:
    """Return the object of ``landscape radius``, with one entry per ray."""
    values = radii.to_dict()
    rows = zip(values["radii"], status_names(radii), values["calls"], values["evaluations"], strict=True)
    return {
        **{key: values["config"].get(key) for key in _RADII_SETTINGS},
        "dimension": radii.dimension,
        "directions": radii.directions,
        "cutoffs": values["cutoffs"],
        "centre": values["centre"],
        "evaluations": radii.cost.evaluations,
        "pilot_evaluations": radii.pilot.evaluations,
        "seconds": radii.cost.seconds,
        "rays": [
            {"direction": index, "radii": row, "status": names, "calls": calls, "evaluations": evaluations}
            for index, (row, names, calls, evaluations) in enumerate(rows)
        ],
    }


def radii_csv(radii: Radii) -> str:
    """Return one line per ray and cutoff, with the bracket of the crossing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["direction", "cutoff", "radius", "status", "lower", "upper"])
    names = status_names(radii)
    for ray in range(radii.directions):
        for column, cutoff in enumerate(radii.cutoffs):
            radius, lower, upper = (float(table[ray, column]) for table in (radii.radii, radii.lower, radii.upper))
            writer.writerow([ray, cutoff, radius, names[ray][column], lower, upper])
    return out.getvalue()


def status_names(radii: Radii) -> list[list[str]]:
    """Return how each search ended, in words, shape (directions, cutoffs)."""
    return [[RayStatus(code).name.lower() for code in row] for row in radii.status.tolist()]


def slice_object(result: Line | Plane) -> dict[str, Any]:
    """Return the object of ``landscape slice``: the settings, then every array."""
    values = result.to_dict()
    config, cost = values.pop("config"), values.pop("cost")
    return {
        **{key: config[key] for key in _SLICE_SETTINGS if key in config},
        **values,
        "evaluations": cost["evaluations"],
        "seconds": cost["seconds"],
    }


def curvatures_object(results: Mapping[str, Curvature]) -> dict[str, Any]:
    """Return the object of ``landscape curvature``: the settings, then one object per result."""
    config = next(iter(results.values())).config
    return {
        **{key: config[key] for key in _CURVATURE_SETTINGS},
        "products": sum(result.cost.evaluations for result in results.values()),
        "seconds": sum(result.cost.seconds for result in results.values()),
        **{name.replace("-", "_"): curvature_object(result) for name, result in results.items()},
    }


def curvature_object(result: Curvature) -> dict[str, Any]:
    """Return one result: its values with their errors, without vectors and samples."""
    values = {field.name: getattr(result, field.name) for field in fields(result) if field.name not in _LEFT_OUT}
    if isinstance(result, LayerTraces):
        values["total"], values["total_standard_error"] = result.total
    if isinstance(result, SpectralDensity):
        values["trace"], values["trace_standard_error"] = result.trace
        values["extremes"], values["width"] = result.extremes, result.width
        values["quantile_bounds"] = {f"{share:g}": result.quantile_bounds(share) for share in _QUANTILES}
        values |= {"negative_share": result.negative_share, "zero_share": result.zero_share}
        values |= {"negative_bounds": result.negative_bounds, "zero_bounds": result.zero_bounds}
        values |= {"grid": result.grid(), "density": result.density(), "density_error": result.density_error()}
    settings = {key: result.config[key] for key in ("probes", "steps", "max_products") if key in result.config}
    return finite(plain({**values, **settings, "products": result.cost.evaluations, "seconds": result.cost.seconds}))
