"""`python -m shipping_service`: the service as one process, set up by its environment."""

from shared.chassis.runtime.process import run
from shared.settings import load
from shipping_service.app import build

if __name__ == "__main__":
    run("shipping_service", load, lambda settings: settings.shipping_port, build)
