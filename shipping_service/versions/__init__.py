"""The migrations of the read API's tables that are not derived."""
