"""`python -m quadrille.mailbox`: the development mailbox as one process."""

from quadrille.mailbox.app import build
from shared.chassis.runtime.process import run
from shared.chassis.settings import loopback_host
from shared.settings import load

if __name__ == "__main__":
    run("mailbox", load, lambda settings: settings.mailbox_port, build, host_of=loopback_host)
