"""``make audit``: what the pinned packages are licensed under, and what is known against them.

Licences are read from the packages that are installed, without a network. Then pip-audit asks
PyPI's list of vulnerabilities for every pin.

=====  ============================================================================
Code   Meaning
=====  ============================================================================
0      every licence is allowed, and nothing is known against a package
1      a licence isn't allowed, or a vulnerability is known
3      the list of vulnerabilities couldn't be asked; the licences are allowed
=====  ============================================================================
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements"
ALLOWED = re.compile(
    r"(the )?((\d-clause |new |simplified |modified )?bsd\b.*|0bsd|mit\b.*|apache\b.*|isc\b.*"
    r"|psf\b.*|python software foundation.*|cnri-python|mozilla public license 2.*|mpl-2\.0"
    r"|zlib|cc0-1\.0|bsl-1\.0|unlicense|hpnd|academic free license.*|llvm-exception)",
    re.IGNORECASE,
)
"""What binds whoever uses a package to no more than naming it, or giving changes of it back."""
EXCEPTIONS: Mapping[str, str] = {
    "axe-playwright-python": "its metadata says nothing; its file is MIT's, axe-core in it MPL-2.0",
    "psycopg": "LGPL: imported as it is, never changed nor shipped; whoever installs gets it apart",
    "psycopg-binary": "LGPL, as psycopg, whose compiled half it is",
    "tiktoken": "MIT, whose whole text its metadata holds; `make peers` installs it with LangChain",
    "zss": "its metadata says nothing; BSD by its repository; reasoning-gym needs it",
}
"""Packages whose licence isn't allowed, or isn't said, and why they may be used all the same."""
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[\w,-]*\])?==", re.MULTILINE)
_LONGEST = 80
"""Characters of a licence's name; some packages put the whole text there."""


def pinned(folder: Path) -> list[str]:
    """Return the names of all pinned packages."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]
    return sorted({name for text in texts for name in _PIN.findall(text)}, key=str.lower)


def licence_of(about: Message) -> str:
    """Return what a package's metadata says of its licence; empty where it says nothing."""
    expression = about.get("License-Expression")
    if expression:
        return str(expression)
    named = [
        str(line).rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or ()
        if str(line).startswith("License :: ") and not str(line).endswith("OSI Approved")
    ]
    text = str(about.get("License") or "").strip()
    return " AND ".join(named) or (text if len(text) <= _LONGEST and "\n" not in text else "")


def is_allowed(licence: str) -> bool:
    """Tell whether a licence is allowed: of alternatives one, of several that all hold each.

    Example:
        >>> is_allowed("MPL-2.0 AND (Apache-2.0 OR GPL-3.0)"), is_allowed("MIT AND GPL-3.0")
        (True, False)
    """
    plain = licence
    while inner := re.search(r"\(([^()]*\b(?:OR|AND|WITH)\b[^()]*)\)", plain):
        plain = plain.replace(inner[0], "MIT" if is_allowed(inner[1]) else "not allowed")
    return any(
        all(ALLOWED.fullmatch(part.strip()) for part in re.split(r" AND | WITH ", choice))
        for choice in plain.split(" OR ")
    )


def refused_licences(packages: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each package that may not be used.

    Args:
        packages: Name -> licence; empty: it says none.
    """
    for name, licence in packages.items():
        if name not in EXCEPTIONS and not is_allowed(licence):
            yield f"{name}: {licence or 'its metadata says no licence'}"


def installed_licences(names: list[str]) -> dict[str, str]:
    """Return the licences of those packages that are installed here."""
    found = {}
    for name in names:
        try:
            found[name] = licence_of(metadata.metadata(name))  # type: ignore[arg-type]
        except metadata.PackageNotFoundError:
            continue
    return found


def vulnerabilities(report: Mapping[str, Any]) -> tuple[list[str], int, int]:
    """Return a line a vulnerability, and of how many packages something was said, and nothing."""
    lines, asked, unknown = [], 0, 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown += 1
            continue
        asked += 1
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            lines.append(
                f"{package['name']} {package['version']}: {found['id']}, mended in {fixed}"
            )
    return lines, asked, unknown


def ask(python: str, pins: Path) -> tuple[Mapping[str, Any] | None, str]:
    """Ask pip-audit for the pins of a file; without an answer, return why."""
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(
        [python, "-m", "pip_audit", "-r", str(pins), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return json.loads(done.stdout), ""
    except ValueError:
        return None, (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]


def main(words: list[str]) -> int:
    """Check licences and, given the Python of the audit's environment, vulnerabilities."""
    names = pinned(PINS)
    found = installed_licences(names)
    wrong = list(refused_licences(found))
    _say(
        f"licences: {len(found)} of {len(names)} pinned packages are installed here, "
        f"{sum(name in EXCEPTIONS for name in found)} by an exception; not allowed: {len(wrong)}"
    )
    _say(*(f"  {line}" for line in wrong))
    if not words:
        return 1 if wrong else 0
    lines, asked, unknown = list[str](), 0, 0
    for pins in sorted(PINS.glob("*.txt")):
        report, why = ask(words[0], pins)
        more = vulnerabilities(report) if report else ([], 0, 0)
        if not more[1]:
            why = why or "it knows none of the packages, as a mirror without that list doesn't"
            _say(f"vulnerabilities: the list couldn't be asked for {pins.name}: {why}")
            return 1 if wrong or lines else 3
        lines, asked, unknown = lines + more[0], asked + more[1], unknown + more[2]
    known = f"{len(lines)} known in {asked} packages"
    _say(f"vulnerabilities: {known}; {unknown} couldn't be looked up")
    _say(*(f"  {line}" for line in lines))
    return 1 if wrong or lines else 0


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
