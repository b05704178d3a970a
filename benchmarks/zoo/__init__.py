"""The zoo: models of every kind, measured and compared with the model's own loss. Run ``python -m benchmarks.zoo``."""
