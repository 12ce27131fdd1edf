"""`python -m notifier_service`: the service as one process, set up by its environment."""

from notifier_service.app import build
from shared.chassis.runtime.process import run

if __name__ == "__main__":
    run("notifier_service", lambda settings: settings.notifier_port, build)
