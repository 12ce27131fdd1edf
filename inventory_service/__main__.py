"""`python -m inventory_service`: the service as one process, set up by its environment."""

from inventory_service.app import build
from shared.chassis.runtime.process import run

if __name__ == "__main__":
    run("inventory_service", lambda settings: settings.inventory_port, build)
