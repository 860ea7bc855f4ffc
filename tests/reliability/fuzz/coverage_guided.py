"""A property of this folder, its inputs steered by the code that they reach, until one fails.

For whoever installs atheris, which no pin here names (it has wheels for few versions of Python)::

    .venv/bin/pip install atheris
    .venv/bin/python -m tests.reliability.fuzz.coverage_guided test_replies.test_a_judges_reply

What follows goes to libFuzzer, such as ``-max_total_time=600``. Properties that take a folder of
pytest's can't be run so.
"""

from __future__ import annotations

import importlib
import sys


def main(words: list[str]) -> None:
    """Run one property for as long as libFuzzer is told to."""
    import atheris  # noqa: PLC0415 # type: ignore[import-not-found]

    module, _, name = words[1].partition(".")
    with atheris.instrument_imports(include=["atlas"]):
        found = importlib.import_module(f"tests.reliability.fuzz.{module}")
    property_ = getattr(found, name)
    atheris.Setup([words[0], *words[2:]], property_.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
