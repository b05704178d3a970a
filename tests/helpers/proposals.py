"""The Gaussian that directions are proposed from, as a dense matrix."""

from __future__ import annotations

import numpy as np

from landscape.volume.proposals.angular_gaussian import AngularGaussian


def precision(shape: AngularGaussian) -> np.ndarray:
    """Σ^-1 as a dense matrix."""
    outside = np.eye(shape.size) - shape.vectors @ shape.vectors.T
    return shape.vectors @ np.diag(shape.values) @ shape.vectors.T + outside @ np.diag(shape.rest) @ outside
