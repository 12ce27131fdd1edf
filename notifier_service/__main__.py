"""`python -m notifier_service`: the service as one process, set up by its environment."""

from notifier_service.app import build
from shared.chassis.runtime.process import run
from shared.settings import load

if __name__ == "__main__":
    run("notifier_service", load, lambda settings: settings.notifier_port, build)
