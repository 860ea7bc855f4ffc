from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.serve.token import (
    find_token,
    new_token,
    remove_token,
    runtime_folder,
    token_path,
    write_token,
)


def test_the_trainer_finds_what_the_server_was_given(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    path = write_token(8123, new_token(), environ)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    token = find_token("http://127.0.0.1:8123", environ)
    assert len(token) >= 40
    write_token(8123, new_token(), environ)
    assert find_token("http://127.0.0.1:8123", environ) != token


def test_a_named_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("secret\n")
    environ = {"ATLAS_CONTROL_TOKEN_FILE": str(tmp_path / "mine")}
    assert find_token("http://gpu7:8000", environ) == "secret"


def test_without_a_token_the_error_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"no control token .*atlas serve"):
        find_token("http://127.0.0.1:8123", {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_a_folder_that_others_read_is_refused(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    runtime_folder(environ).chmod(0o755)
    with pytest.raises(AtlasError, match="must be your own"):
        token_path(8000, environ)


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    folder = runtime_folder(environ)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AtlasError, match="must be your own"):
        write_token(8000, "secret", environ)


def test_a_later_servers_token_stays(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    path = write_token(8000, "first", environ)
    write_token(8000, "second", environ)
    remove_token(path, "first")
    assert find_token("http://127.0.0.1:8000", environ) == "second"
    remove_token(path, "second")
    assert not path.exists()
