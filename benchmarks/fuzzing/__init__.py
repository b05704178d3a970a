"""Bad inputs for the commands: damaged files and senseless options (see ``benchmarks.fuzz``)."""
