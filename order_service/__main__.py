"""`python -m order_service`: the service as one process, set up by its environment."""

from order_service.app import build
from shared.chassis.runtime.process import run
from shared.settings import load

if __name__ == "__main__":
    run("order_service", load, lambda settings: settings.order_port, build)
