"""Weights of rays: what a ray counts for, the mean over rays, and how far it can be trusted."""
