"""Guide B, step 2: a vLLM server, with vLLM's own flags; ``--help`` tells the rest."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

here = Path(__file__).parents[1].resolve()
venv, ours = here / ".venv" / "bin" / "python", find_spec("atlas")
if ours is None or not Path(str(ours.origin)).with_name("yaml_file.py").exists():
    if venv.exists() and Path(sys.executable) != venv:
        os.execv(venv, [str(venv), *sys.argv])
    # Without Atlas there is nobody else to say it; the Atlas SDK's module has the same name.
    command = f"{sys.executable} -m pip install -e '{here}[train]'"
    sys.stderr.write(f"atlas: Atlas isn't here; run: {command}\n")
    sys.exit(2)

if __name__ == "__main__":
    from atlas.cli.app import vllm_server

    vllm_server()
