"""Events and commands as data: no I/O."""
