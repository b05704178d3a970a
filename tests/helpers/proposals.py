"""The Gaussian that directions are proposed from, as a dense matrix."""

from __future__ import annotations

import numpy as np

from landscape.volume.proposals.angular_gaussian import AngularGaussian


def precision(gaussian: AngularGaussian) -> np.ndarray:
    """Σ^-1 as a dense matrix."""
    outside = np.eye(gaussian.size) - gaussian.vectors @ gaussian.vectors.T
    return gaussian.vectors @ np.diag(gaussian.values) @ gaussian.vectors.T + outside @ np.diag(gaussian.rest) @ outside
