"""``python -m atlas`` is the ``atlas`` command."""

from __future__ import annotations

from atlas.cli.app import main

main()
