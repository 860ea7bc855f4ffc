#!/usr/bin/env bash
# Guide B: scripts/launch_with_server.sh SERVER_GPUS TRAIN_GPUS CONFIG.yaml [key=value …]
# The servers and the training together, each on GPUs of its own; 0 0 does it all on the CPU.
set -euo pipefail
python="$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python"
if [ ! -x "$python" ]; then
    python=python3
    if ! "$python" -c 'import atlas' 2>/dev/null; then
        echo "launch_with_server.sh: Atlas isn't installed; run: make quickstart" >&2
        exit 2
    fi
fi
exec "$python" -m atlas launch-with-server "$@"
