"""Results -> figures and files for viewers: one file for each kind of result; how all of them look is in style.py."""

from landscape.plots.by_kind import figure_of, figures_of, figures_of_run, one_figure, pairs_beside
from landscape.plots.chains import trace_figure
from landscape.plots.curvature import density_figure, eigenvalue_figure, layer_figure
from landscape.plots.export import check_export, export
from landscape.plots.radii import loss_along_rays, overview, radius_histogram
from landscape.plots.sharpness import measures_by_step
from landscape.plots.slices import accuracy_figure, contour_figure, filled_figure, line_figure
from landscape.plots.style import save
from landscape.plots.surface_figure import surface_figure
from landscape.plots.volumes import rounds_of_islands, volumes_by_estimator
from landscape.plots.weights import sorted_weights

__all__ = [
    "accuracy_figure",
    "check_export",
    "contour_figure",
    "density_figure",
    "eigenvalue_figure",
    "export",
    "figure_of",
    "figures_of",
    "figures_of_run",
    "filled_figure",
    "layer_figure",
    "line_figure",
    "loss_along_rays",
    "measures_by_step",
    "one_figure",
    "overview",
    "pairs_beside",
    "radius_histogram",
    "rounds_of_islands",
    "save",
    "sorted_weights",
    "surface_figure",
    "trace_figure",
    "volumes_by_estimator",
]
