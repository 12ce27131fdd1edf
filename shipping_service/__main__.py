"""`python -m shipping_service`: the service as one process, set up by its environment."""

from shipping_service.app import build
from shared.service import run

if __name__ == "__main__":
    run("shipping_service", lambda settings: settings.shipping_port, build)
