"""The order service over HTTP: orders, carts and accounts."""
