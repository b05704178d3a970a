"""Frozen results: what was measured, how sure it is and what it cost. Numpy only; nothing here knows about files."""

from landscape.results.base import NOTHING, Cost, Result, result_class
from landscape.results.boundary import Boundary
from landscape.results.comparison import CANNOT_TELL, Comparison, ComparisonRow
from landscape.results.curvature import Diagonal, Eigenpairs, LayerTraces, Trace
from landscape.results.embedding import Embedding
from landscape.results.estimate import VolumeEstimate
from landscape.results.hits import Count, CountedVolume, Hits
from landscape.results.islands import AnnealedVolume, Islands
from landscape.results.net_measures import NetMeasures
from landscape.results.progress import OnProgress, Progress
from landscape.results.radii import Radii, RayStatus
from landscape.results.ranking import Ranking
from landscape.results.resume import require_same_config
from landscape.results.runs import Runs
from landscape.results.sharpness import Measure, SharpnessTable
from landscape.results.slices import Line, Plane
from landscape.results.snapshot import Snapshot, snapshots_text
from landscape.results.spectrum import LogDeterminant, SpectralDensity
from landscape.results.verdicts import VERDICTS, Check, grade
from landscape.results.volume import LaplaceVolume, Volume

__all__ = [
    "CANNOT_TELL",
    "NOTHING",
    "VERDICTS",
    "AnnealedVolume",
    "Boundary",
    "Check",
    "Comparison",
    "ComparisonRow",
    "Cost",
    "Count",
    "CountedVolume",
    "Diagonal",
    "Eigenpairs",
    "Embedding",
    "Hits",
    "Islands",
    "LaplaceVolume",
    "LayerTraces",
    "Line",
    "LogDeterminant",
    "Measure",
    "NetMeasures",
    "OnProgress",
    "Plane",
    "Progress",
    "Radii",
    "Ranking",
    "RayStatus",
    "Result",
    "Runs",
    "SharpnessTable",
    "Snapshot",
    "SpectralDensity",
    "Trace",
    "Volume",
    "VolumeEstimate",
    "grade",
    "require_same_config",
    "result_class",
    "snapshots_text",
]
