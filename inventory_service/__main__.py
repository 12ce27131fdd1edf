"""`python -m inventory_service`: the service as one process, set up by its environment."""

from inventory_service.app import build
from shared.chassis.runtime.process import run
from shared.settings import load

if __name__ == "__main__":
    run("inventory_service", load, lambda settings: settings.inventory_port, build)
