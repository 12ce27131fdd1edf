"""Services built on the chassis, to start from."""
