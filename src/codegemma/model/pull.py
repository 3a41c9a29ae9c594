# SPDX-License-Identifier: Apache-2.0
"""Fetch a known model from the hub into the hub's own cache.

Only safetensors, JSON, tokenizer and licence files are fetched, never a pickle or a program. Large
files are `download.py`'s work, which loses nothing by an interrupt; the rest (small files, links,
references) is the hub package's. What comes in is checked before it counts.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from codegemma.errors import CheckpointError, ConfigError, RemoteError
from codegemma.model.download import TRANSPORT_ERRORS, HubFile, fetch
from codegemma.model.hub import KnownModel, missing_files
from codegemma.model.stored import open_checkpoint

_WANTED: Final = re.compile(
    r"[\w.\-]+\.safetensors(\.index\.json)?|(generation_|tokenizer_)?config\.json"
    r"|tokenizer\.(model|json)|special_tokens_map\.json|added_tokens\.json|chat_template\.jinja"
    r"|README\.md|(?i:LICENSE|LICENCE|NOTICE|USE_POLICY)[\w.\-]*"
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NOT_FILES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".py")
_TIMEOUT_S: Final = 15.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PullPlan:
    """What a pull will fetch.

    Args:
        model: The model.
        revision: Branch, tag or commit asked for; None is the main branch.
        commit: The commit it stands for now.
        files: The files wanted, those on this machine included.
    """

    model: KnownModel
    revision: str | None
    commit: str
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def kept_bytes(self) -> int:
        """Bytes that are on this machine already."""
        return sum(file.kept_bytes for file in self.files)


def plan_pull(model: KnownModel, *, revision: str | None = None) -> PullPlan:
    """Ask the hub what a model's files are; nothing is fetched.

    Raises:
        ConfigError: The model is not from the hub.
        RemoteError: The hub cannot be reached or refuses; the message says what to do.
    """
    if model.repository is None:
        raise ConfigError(f"{model.name} is part of the package; there is nothing to pull")
    with _explained(model, revision=revision):
        info = huggingface_hub.HfApi().model_info(
            model.repository, revision=revision, files_metadata=True, timeout=_TIMEOUT_S
        )
    assert info.sha is not None
    files: list[HubFile] = []
    for sibling in info.siblings or ():
        name = sibling.rfilename
        if not _WANTED.fullmatch(name) or name.endswith(_NOT_FILES):
            continue
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        if sha256 is not None and not _SHA256.fullmatch(sha256):
            raise RemoteError(f"the hub gave {sha256!r} as the sha256 of {name}; pull again later")
        files.append(
            HubFile(
                repository=model.repository,
                commit=info.sha,
                name=name,
                size_bytes=sibling.size or 0,
                sha256=sha256,
            )
        )
    if not any(file.name.endswith(".safetensors") for file in files):
        raise RemoteError(f"{model.repository} holds no safetensors; other weights are not fetched")
    return PullPlan(model=model, revision=revision, commit=info.sha, files=tuple(files))


def run_pull(plan: PullPlan, *, progress: Progress | None = None) -> Path:
    """Fetch what a plan lacks and check the whole; interrupted, run it again.

    Args:
        plan: From `plan_pull`.
        progress: Told the bytes that are here so far and in all.

    Returns:
        The model's folder.

    Raises:
        RemoteError: The hub cannot be reached or refuses, or sends damaged files.
        CheckpointError: The disk is full, or what was fetched is no sound model.
    """
    repository = plan.model.repository
    assert repository is not None
    _check_disk(plan)
    done = {file.name: file.kept_bytes for file in plan.files}

    def tell(name: str, count: int) -> None:
        done[name] = count
        if progress:
            progress(sum(done.values()), plan.size_bytes)

    with _explained(plan.model, revision=plan.revision):
        for file in plan.files:
            if file.sha256 is not None:
                fetch(file, progress=lambda count, name=file.name: tell(name, count))
        with _without_bars():
            folder = Path(
                huggingface_hub.snapshot_download(
                    repository,
                    revision=plan.revision,
                    allow_patterns=[file.name for file in plan.files],
                )
            )
    for file in plan.files:
        tell(file.name, file.size_bytes)
    if missing := missing_files(folder):
        raise RemoteError(
            f"{repository} changed while it was fetched ({missing[0]} is missing); pull again"
        )
    open_checkpoint(folder)
    return folder


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Silence the hub package's progress bars, which would draw over our own."""
    was_silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not was_silent:
            enable_progress_bars()


@contextlib.contextmanager
def _explained(model: KnownModel, *, revision: str | None) -> Iterator[None]:
    """Turn what the hub package raises into one clear message."""
    page = f"{constants.ENDPOINT}/{model.repository}"
    where = f"{model.repository} at {revision}" if revision else f"{model.repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise RemoteError(_explain_gate(model, error.response.status_code, page=page)) from error
    except errors.RevisionNotFoundError as error:
        raise RemoteError(f"{model.repository} has no revision {revision!r}; see {page}") from error
    except errors.RepositoryNotFoundError as error:
        if error.response.status_code == 401:
            raise RemoteError(_explain_gate(model, 401, page=page)) from error
        raise RemoteError(f"{constants.ENDPOINT} has no repository {model.repository}") from error
    except errors.OfflineModeIsEnabled as error:
        raise RemoteError(
            f"cannot fetch {where}: HF_HUB_OFFLINE is set; unset it and pull again"
        ) from error
    except errors.HfHubHTTPError as error:
        raise RemoteError(
            f"the hub answered {error.response.status_code} for {where}; pull again later"
        ) from error
    except TRANSPORT_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise CheckpointError(f"cannot write to the hub's cache: {error}") from error
        raise RemoteError(
            f"cannot reach {constants.ENDPOINT} for {where} ({type(error).__name__}); what was "
            "fetched is kept, pull again when there is a connection"
        ) from error


def _explain_gate(model: KnownModel, status: int, *, page: str) -> str:
    if status == 403 or huggingface_hub.get_token():
        return (
            f"the hub refuses your token for {model.repository}: accept the terms at {page} with "
            "the same account; a fine-grained token also needs read access to gated repositories"
        )
    return (
        f"{model.repository} is gated: accept the terms at {page}, make a token at "
        f"{constants.ENDPOINT}/settings/tokens, and pass it in HF_TOKEN (or run: hf auth login)"
    )


def _check_disk(plan: PullPlan) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    needed, free = plan.size_bytes - plan.kept_bytes, shutil.disk_usage(cache).free
    if needed > free:
        raise CheckpointError(
            f"{plan.model.name} needs {needed / 1e9:.2f} GB more in {cache}, {free / 1e9:.2f} GB "
            "are free; HF_HOME may name another disk"
        )
