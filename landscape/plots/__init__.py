"""Results -> figures and files for viewers: one file for each kind of result."""
