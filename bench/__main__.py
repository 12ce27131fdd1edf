"""`python -m bench`: all benchmarks, one after the other."""

import subprocess
import sys

for script in (
    "transaction",
    "relay",
    "resync",
    "replay",
    "pull",
    "sign_in",
    "reads",
    "rebuild",
    "shop",
    "overload",
):
    print(f"\n== {script} ==\n", flush=True)
    subprocess.run([sys.executable, "-m", f"bench.{script}"], check=True)
