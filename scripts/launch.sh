#!/usr/bin/env bash
# Guide B: scripts/launch.sh N CONFIG.yaml [key=value …]
# N processes train together, each on a GPU of its own, or on the CPU where there are no GPUs.
set -euo pipefail
python="$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python"
if [ ! -x "$python" ]; then
    python=python3
    if ! "$python" -c 'import atlas' 2>/dev/null; then
        echo "launch.sh: Atlas isn't installed; run: make quickstart" >&2
        exit 2
    fi
fi
exec "$python" -m atlas launch "$@"
