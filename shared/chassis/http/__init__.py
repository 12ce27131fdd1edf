"""What every HTTP API shares: commands, problems, authentication, limits."""
