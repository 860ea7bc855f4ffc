"""What went wrong, as a user is meant to read it, and text that may be shown.

=========================  =========  ===========================================================
What                       exit code  who mends it
=========================  =========  ===========================================================
`AtlasError`               2          the user: a setting, a file, a command
`OutageError`              3          the machine: a server, database, judge, network or disk
=========================  =========  ===========================================================
"""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for tab and line break, what turns the direction of text, and half
surrogate pairs."""
_BREAKS = re.compile(r"\s*[\t\n]\s*")
_LONGEST = 4000
"""Characters of a message."""


class AtlasError(Exception):
    """A mistake that the user can mend: one line that says what, where and what to do.

    The command line prints it without a traceback and exits with ``exit_code``.

    Args:
        message: May quote what files, servers and models say: whatever it holds, it becomes one
            line that a terminal can show.
        exit_code: That of an error which this one passes on; None: that of the class.
    """

    exit_code: int = 2

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        line = _BREAKS.sub(" ", printable(message)).strip()
        if len(line) > _LONGEST:  # what is wrong stands at its beginning, what to do at its end
            line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
        super().__init__(line)
        if exit_code is not None:
            self.exit_code = exit_code


class OutageError(AtlasError):
    """What the surroundings did: a server died, a database went, a disk is full, no network.

    The same command goes on once they are well again.
    """

    exit_code: int = 3


class OwnCodeError(AtlasError):
    """What a user's own function raised; its cause is that, whose traceback the run's log keeps."""


def reason_of(error: BaseException) -> str:
    """Return what another library's error says, as part of one line that a terminal can show."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    text = one_line(text)
    if isinstance(error, OSError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(text: object, longest: int = 300) -> str:
    """Return text from elsewhere as part of one line: what isn't printable becomes U+FFFD."""
    plain = "".join(char if char.isprintable() else "\ufffd" for char in str(text)[: longest + 1])
    return plain if len(plain) <= longest else f"{plain[:longest]}…"


class RankError(AtlasError):
    """What one of several processes met by itself; the message says which rank it is."""


def printable(text: str) -> str:
    """Return text that can't act on a terminal: escape sequences and the like become visible.

    Example: ``printable("a\\x1b[31m")`` is ``"a\\\\x1b[31m"``.
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)
