"""Each customer's cart, and its checkout."""
