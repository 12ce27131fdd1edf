"""Copies of the services' databases, and how a service continues from an older copy."""
