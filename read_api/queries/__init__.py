"""Queries of the read models, one module for each kind of thing; most take one statement."""
