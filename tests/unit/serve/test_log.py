from __future__ import annotations

from pathlib import Path

from atlas.serve.log import Follower, first_error, tail


def test_the_first_error_is_the_cause() -> None:
    log = (
        "WARNING 11-25 [a.py:1] This can cause errors like `OSError: [Errno 24] Too many`\n"
        "(Worker pid=1) ERROR 11-25 02:39:18 [m.py:1063] RuntimeError: head_dim=8\n"
        "(APIServer pid=2) ERROR 11-25 02:39:18 [v.py:54] vllm.x.EngineDeadError: see above\n"
    )
    assert first_error(log) == "RuntimeError: head_dim=8"
    assert first_error("ImportError: no module\n") == "ImportError: no module"
    assert first_error("INFO all is well\n") == ""


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log, 3) == ""
    log.write_text("".join(f"line {i}\n" for i in range(1000)))
    assert tail(log, 2) == "line 998\nline 999"


def test_a_growing_log_is_read_once(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "log")
    assert follower.new_text() == ""
    with (tmp_path / "log").open("w") as file:
        for text in ("one\n", "two\n"):
            file.write(text)
            file.flush()
            assert follower.new_text() == text
    assert follower.new_text() == ""
