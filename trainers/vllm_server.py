"""Guide B, step 2: a vLLM server, with vLLM's own flags; ``--help`` tells the rest."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

venv = Path(__file__).parents[1] / ".venv" / "bin" / "python"
if find_spec("atlas") is None and venv.exists() and Path(sys.executable) != venv:
    os.execv(venv, [str(venv), *sys.argv])

if __name__ == "__main__":
    from atlas.cli.app import vllm_server

    vllm_server()
