"""Guide A, step 3: ``python train_atlas.py --config train_config.json``."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

venv = Path(__file__).with_name(".venv") / "bin" / "python"
if find_spec("atlas") is None and venv.exists() and Path(sys.executable) != venv:
    os.execv(venv, [str(venv), *sys.argv])

if __name__ == "__main__":
    from atlas.cli.app import train_atlas

    train_atlas()
