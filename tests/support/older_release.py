"""Runs a service as an older release, for which an event type's schema version is a later one.

python -m tests.support.older_release <event type> <module>
"""

import runpy
import sys

from shared.contracts import CATALOG

if __name__ == "__main__":
    _, event_type, module = sys.argv
    sys.argv = [module]
    CATALOG.event_types[event_type].SCHEMA_VERSION -= 1
    runpy.run_module(module, run_name="__main__", alter_sys=True)
