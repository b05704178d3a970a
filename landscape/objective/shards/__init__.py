"""Models whose parameters lie on several ranks: under FSDP2 (``fully_shard``) or DTensor tensor parallelism."""
