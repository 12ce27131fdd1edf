"""Orders from placement to their final status, and the prices they are placed at."""
