"""The shop on one machine: its launcher, its command line, and the oracle that checks it."""
