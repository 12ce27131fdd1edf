"""The framework that the services are built on: event log, unit of work, relay, consumer, HTTP.

It imports neither the shop's events nor any service: both are passed in. Of the shop it still
contains the HTTP form of each rejection (`http/problems.py`), the rate limits (`http/rate_limits.py`), the roles of
callers (`http/auth.py`) and names such as the stream's.
"""
