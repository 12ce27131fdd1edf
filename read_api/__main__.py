"""`python -m read_api`: the service as one process, set up by its environment."""

from read_api.app import build
from shared.chassis.runtime.process import run
from shared.settings import load

if __name__ == "__main__":
    run("read_api", load, lambda settings: settings.read_api_port, build)
