"""What the services share: the chassis, the events, the settings and how money is printed."""

VERSION = "0.1.0"
