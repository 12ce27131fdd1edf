"""The commands of `quadrille`, one module for each group."""
