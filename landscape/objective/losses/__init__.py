"""Losses as sums over terms, and what they say about predictions, targets and accuracy."""
