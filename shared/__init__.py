"""The chassis every service stands on: mechanism and contracts, no business rule."""

VERSION = "0.1.0"
