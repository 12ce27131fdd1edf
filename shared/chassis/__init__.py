"""The framework that the services are built on: event log, unit of work, relay, consumer, HTTP.

It knows neither the shop's events nor any service: both are passed in.
"""
