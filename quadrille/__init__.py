"""The shop on one machine: its launcher, its command line, and the audit that checks it."""
