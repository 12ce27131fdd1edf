"""A service as a process: its parts, start and stop, logs."""
