"""The chassis tables of a service's database, and how they are read and written."""
