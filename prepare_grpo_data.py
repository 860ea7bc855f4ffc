"""Guide A, step 1: ``python prepare_grpo_data.py`` writes ``data/``; ``--help`` tells the rest."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

venv = Path(__file__).with_name(".venv") / "bin" / "python"
if find_spec("atlas") is None and venv.exists() and Path(sys.executable) != venv:
    os.execv(venv, [str(venv), *sys.argv])

if __name__ == "__main__":
    from atlas.cli.app import prepare_grpo_data

    prepare_grpo_data()
