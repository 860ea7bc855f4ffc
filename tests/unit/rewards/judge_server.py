"""What a judge answers, for an endpoint on this machine.

As a command it is the judge of ``benchmarks/judges.py``: it takes a while, and fails sometimes.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping
from typing import Any

from tests.unit.endpoint.chat_server import Answer, ChatServer, error, says

_NONCE = re.compile(r"the text ([0-9a-f]{12}),")


def nonce_of(request: Mapping[str, Any]) -> str:
    """Return the nonce that a request's system message asks for."""
    found = _NONCE.search(request["messages"][0]["content"])
    assert found is not None
    return found[1]


def verdict_text(nonce: str, score: float = 0.8, uncertainty: float = 0.1, **changes: Any) -> str:
    """Return a verdict as a judge writes it."""
    principles = [{"name": "clear", "weight": 0.6}, {"name": "true", "weight": 0.4}]
    verdict = {"nonce": nonce, "principles": principles, "rationale": "Clear and true."}
    return json.dumps({**verdict, "score": score, "uncertainty": uncertainty, **changes})


def agree(request: Mapping[str, Any], score: float = 0.8, uncertainty: float = 0.1) -> Answer:
    """Answer a request with a verdict that counts."""
    return says(verdict_text(nonce_of(request), score, uncertainty))


def main() -> None:
    """Serve until the standard input ends; write the address first."""
    delay_s, failure_rate = float(sys.argv[1]), float(sys.argv[2])
    rng = random.Random(0)

    def answer(request: dict[str, Any], number: int) -> Answer:
        if rng.random() < failure_rate:
            found = error(503, "overloaded")
        else:
            found = agree(request, score=round(rng.uniform(0.6, 0.8), 3))
        return Answer(body=found.body, status=found.status, delay_s=delay_s)

    with ChatServer(answer) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stdout.write(json.dumps({"requests": len(server.requests)}) + "\n")


if __name__ == "__main__":
    main()
