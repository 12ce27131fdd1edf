"""The migrations of the tables that every service has."""
