"""Secrets, masked: passwords and keys in what is shown or saved, however they are spelt.

One rule for addresses, one for words with a value, one for what begins as a key. They would rather
hide too much than leave a part of a password, as where it holds an ``@``, a ``/`` or a blank that
should have been encoded.
"""

from __future__ import annotations

import re

# From the first colon behind the user to the last @ of the line; a lone user of a web address is a
# token.
_ADDRESS = re.compile(r"(://[^/\s:]*:).*@|(https?://)[^/\s:@]+@")
_WORD = re.compile(
    r"""(
        [\w.-]*(?:password|passwd|passphrase|pwd|secret)\w*
        | [\w.-]*(?:api_?key|(?:hf|access|auth)_token)
        | [?&](?:\w*(?:token|key|sig\w*) | [^=&\s]*%[0-9a-f]{2}[^=&\s]*)
    )([^\S\n]*[:=][^\S\n]*)
    (?:'(?:[^'\\]|\\.)*'? | "(?:[^"\\]|\\.)*"? | [^\s'"])   # as libpq quotes
    .*? (?=\s+\w+\s*=|$)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# As those who give keys out begin them.
_KEY = re.compile(r"\b((?:sk|gsk|pk|hf|xai|ghp|glpat)[-_])[\w-]{16,}", re.ASCII)
_MASKED = re.compile(r"[:=/_-]\s*\*{3}")


def mask_secrets(text: str) -> str:
    """Return text of any kind with passwords in addresses and values of secret words as ``***``.

    Example:
        >>> mask_secrets("postgresql://me:a@b/c@host/db and host=h password = 'a b' user=me")
        'postgresql://me:***@host/db and host=h password = *** user=me'
    """
    return _KEY.sub(r"\1***", _WORD.sub(r"\1\2***", _ADDRESS.sub(r"\1\2***@", text)))


def is_masked(text: str) -> bool:
    """Tell whether a secret was taken out of ``text``."""
    return _MASKED.search(text) is not None
