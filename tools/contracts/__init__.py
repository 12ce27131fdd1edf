"""The published descriptions of the events, made from their structs, and what may change in them.

`python -m tools.contracts` checks that the files in `contracts` are up to date and that no event changed incompatibly;
`python -m tools.contracts write` writes them.
"""
