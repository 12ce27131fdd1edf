"""The connection to NATS JetStream: consumer and relay."""
