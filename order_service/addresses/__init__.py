"""The address books of customers."""
