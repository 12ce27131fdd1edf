"""The unit of work, the writer that commits it, and the loops that work on the database."""
