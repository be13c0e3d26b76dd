"""Putting a folder of weights on the Hugging Face hub, from which timm reads it by name.

Who is meant, and by which token, huggingface_hub knows: `hf auth login`, or `HF_TOKEN`. Nothing
here asks for a token, stores or shows one. Where the hub is, `HF_ENDPOINT` says.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from super_selfish.export.timm_folder import CARD, CONFIG, WEIGHTS, is_timm_folder


def push_to_hub(
    folder: str | os.PathLike[str],
    repository: str,
    *,
    private: bool = True,
    message: str = "A backbone, written by Super Selfish",
) -> str:
    """Puts a folder that `export_backbone(format="timm-folder")` has written on the hub.

    Afterwards `timm.create_model("hf-hub:OWNER/NAME", pretrained=True)` reads it, on any machine.
    The three files of the folder are uploaded and nothing else of it. The page for people,
    `README.md`, is yours to change before that: it names no licence.

    Args:
        folder: That was written.
        repository: Where to, OWNER/NAME; is made if it is not there.
        private: Whether it is for its owner's eyes alone.
        message: Of the commit.

    Returns:
        The address of what was uploaded.

    Raises:
        ValueError: If there is no such folder, or the repository is there and public, and
            `private` is not False.
        ImportError: If huggingface_hub is missing.
        PermissionError: If the hub does not know who asks, or does not let them.
    """
    path = Path(os.path.expanduser(folder))
    if not is_timm_folder(path):
        raise ValueError(
            f"{path} holds no {CONFIG} and {WEIGHTS}: write it by "
            'supervisor.export_backbone(folder, "timm-folder"), or on the command line by '
            "super-selfish export RUN FOLDER --format timm-folder"
        )
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ImportError(
            "to upload needs huggingface_hub: pip install 'super-selfish[hub]'",
            name="huggingface_hub",
        )
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HfHubHTTPError

    # Asked now: huggingface_hub itself has looked when it was imported.
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="super-selfish")
    try:
        name = hub.create_repo(repository, private=private, exist_ok=True).repo_id
        if private and hub.model_info(name).private is False:
            raise ValueError(
                f"{name} is there already, for all to see: private=False says that this is meant"
            )
        commit = hub.upload_folder(
            repo_id=name,
            folder_path=path,
            commit_message=message,
            allow_patterns=[CONFIG, WEIGHTS, CARD],
        )
    except HfHubHTTPError as error:
        status = None if error.response is None else error.response.status_code
        if status not in (401, 403):
            raise
        raise PermissionError(
            f"the hub does not let you write {repository} ({status}): `hf auth login` or HF_TOKEN "
            "tells it who you are, by a token that may write"
        ) from error
    return str(commit.commit_url)
