"""What several test files share: networks, bodies of known volume, made results, and the typing of commands."""
