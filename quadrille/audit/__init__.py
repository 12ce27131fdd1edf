"""The audit: compares the databases of all services with their event logs and with each other."""
