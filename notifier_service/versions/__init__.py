"""The migrations of the notifier's tables."""
