#!/bin/sh
# Runs `quadrille` with the databases of all services, each of which compose.yaml mounts as a volume of its own.
set -eu
export PYTHONPATH=/app QUADRILLE_DATA_DIR=/tmp/data
mkdir "$QUADRILLE_DATA_DIR"
ln -s /volumes/*/* "$QUADRILLE_DATA_DIR"
exec python -m quadrille "$@"
