"""A model folder -> a repository of a hub: what its manifest names, the manifest, and the card."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # of whichever client it uses
)

from atlas.errors import AtlasError, OutageError
from atlas.json_file import read_json
from atlas.machine.hub import hub_answers
from atlas.models.manifest import MANIFEST, is_state, refuse_damaged

_TWICE = "pytorch_model.bin"
"""The weights again, under the guide's name."""


def upload(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a model; a repository that isn't there is made. Returns its address.

    The token is the one that `huggingface_hub` finds: ``HF_TOKEN``, or that of a login.

    Args:
        folder: Of a model that Atlas wrote.
        repository: As in ``my-name/my-teacher``.
        private: Of a repository that is made.

    Raises:
        AtlasError: It is no such folder, it is damaged, or the hub refuses.
        OutageError: The hub doesn't answer.
    """
    folder = folder.resolve()
    if not (folder / MANIFEST).is_file():
        raise AtlasError(f"{folder} has no {MANIFEST}; name a model folder that Atlas wrote")
    refuse_damaged(folder)
    named = [n for n in read_json(folder / MANIFEST) if n != _TWICE and not is_state(n)]
    if not hub_answers(constants.ENDPOINT):
        raise OutageError(f"{constants.ENDPOINT} doesn't answer; nothing was uploaded")
    api = HfApi(endpoint=constants.ENDPOINT)
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[*named, MANIFEST, "README.md"],
            commit_message="Trained by Atlas",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = "; set HF_TOKEN to a token that may write there" if status in (401, 403) else ""
        said = " ".join(str(error.server_message or error).split())[:200]
        raise AtlasError(
            f"{constants.ENDPOINT} refuses {repository} ({status}: {said}){hint}"
        ) from error
    except HTTPError as error:
        raise OutageError(f"{constants.ENDPOINT} went away ({error}); push again") from error
    return str(made)
