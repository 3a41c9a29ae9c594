# SPDX-License-Identifier: Apache-2.0
"""Models by name: what each is, under which terms, and where its folder lies on this machine.

Nothing here goes to the network, and no model is fetched unasked: `pull.py` does that when a user
says so. Files from the hub lie in the hub's own cache, shared with every other program that uses
it.
"""

import difflib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from codegemma.completion import Mode
from codegemma.errors import CheckpointError, ConfigError
from codegemma.model.config import by_name
from codegemma.model.convert.hf import INDEX_NAME, PICKLES, WEIGHTS_NAME, stored_tensors
from codegemma.model.convert.hf_config import CONFIG_NAME
from codegemma.model.folder import read_json_object
from codegemma.model.metadata import GEMMA_LICENCE
from codegemma.text.tokenizer import FILE_NAMES as TOKENIZER_NAMES

State = Literal["ready", "incomplete", "absent"]

GGUF_SUFFIX: Final = ".gguf"
NANO_FOLDER: Final = Path(__file__).parents[1] / "nano"


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Terms under which a model's weights are given.

    Args:
        title: Their name.
        url: Where they stand in full.
        summary: What they ask, in a few lines; no substitute for them.
    """

    title: str
    url: str
    summary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownModel:
    """A model this project knows by name.

    Args:
        name: Its name here.
        repository: Its repository on the hub; None for the embedded model.
        licence: A key of `TERMS`.
        is_instruction: Whether it takes conversations.
        mode: Order of the infill prompt its makers document; None where it was not trained to
            infill, or records its own.
        summary: What it is for, in one line.
    """

    name: str
    repository: str | None
    licence: str
    is_instruction: bool = False
    mode: Mode | None = None
    summary: str

    @property
    def num_params(self) -> int:
        """Number of its weights; the embedding, shared with the output, counts once."""
        tensors = stored_tensors(by_name(self.name))
        return sum(math.prod(tensor.shape) for tensor in tensors)


TERMS: Final = {
    GEMMA_LICENCE: Terms(
        title="Gemma Terms of Use",
        url="https://ai.google.dev/gemma/terms",
        summary=(
            "You may use, change and pass on the model, commercially too.\n"
            "Whoever gets it or a derivative from you must get these terms, a notice that it is "
            "Gemma,\nand word of what was changed.\n"
            "Uses listed at https://ai.google.dev/gemma/prohibited_use_policy are prohibited.\n"
            "Google claims no rights in what the model writes for you."
        ),
    ),
    "Apache-2.0": Terms(
        title="Apache License 2.0",
        url="https://www.apache.org/licenses/LICENSE-2.0",
        summary="You may use, change and pass on the model; keep the licence and notices with it.",
    ),
}


def _google(
    name: str, summary: str, *, is_instruction: bool = False, mode: Mode | None = "psm"
) -> KnownModel:
    return KnownModel(
        name=name,
        repository=f"google/{name}",
        licence=GEMMA_LICENCE,
        is_instruction=is_instruction,
        mode=mode,
        summary=summary,
    )


MODELS: Final = (
    KnownModel(
        name="nano",
        repository=None,
        licence="Apache-2.0",
        summary="Embedded Python completion",
    ),
    _google("codegemma-2b", "Code completion"),
    _google("codegemma-1.1-2b", "Code completion, trained longer"),
    _google("codegemma-7b", "Code completion and generation"),
    _google("codegemma-7b-it", "Chat about code", is_instruction=True),
    _google("codegemma-1.1-7b-it", "Chat about code, refreshed", is_instruction=True),
    _google("gemma-2b", "Base model, no infilling", mode=None),
    _google("gemma-7b", "Base model, no infilling", mode=None),
)


def find_model(name: str) -> KnownModel | None:
    """Return the known model of this name or hub repository; None when there is none."""
    return next((model for model in MODELS if name in (model.name, model.repository)), None)


def known_model(name: str) -> KnownModel:
    """Return the known model of this name or hub repository.

    Raises:
        ConfigError: There is none; the message has the names that are, the likeliest first.
    """
    model = find_model(name)
    if model is None:
        raise ConfigError(f"no model is called {name!r}; {_suggest(name)}")
    return model


def resolve(name_or_path: str | Path) -> Path:
    """Return the folder, or the GGUF file, of a model on this machine.

    A known name comes first: a folder that happens to have one is given as `./NAME`, or as a
    `Path`. The output folder of a training stands for the model in it.

    Raises:
        ConfigError: There is no such model, or it is of a kind that is not read.
        CheckpointError: The model is known but not on this machine, or not whole.
    """
    name = str(name_or_path)
    if name.startswith("remote:"):
        raise ConfigError(
            f"{name} is a server, and the files of a model are needed here; give a name or a folder"
        )
    model = None if isinstance(name_or_path, Path) else find_model(name)
    if model is not None:
        return _resolve_known(model)
    try:
        path = Path(name).expanduser()
        is_folder = path.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, or the home of a user unknown here
        raise ConfigError(f"{name[:80]!r} is no model and cannot be a folder: {error}") from error
    if is_folder:
        return _resolve_folder(path)
    if path.suffix.lower() == GGUF_SUFFIX and path.is_file():
        return path
    if name.lower().endswith(PICKLES):
        raise ConfigError(f"{name}: pickles can run any code when read, and are refused")
    if path.exists():
        raise ConfigError(
            f"{name}: expected a model folder or a GGUF file, found another file; give its folder"
        )
    raise ConfigError(f"{name!r} is neither a model nor a folder; {_suggest(name)}")


def locate(model: KnownModel, *, revision: str | None = None) -> tuple[State, Path | None]:
    """Tell whether a known model is on this machine, and where.

    Args:
        model: The model.
        revision: Branch, tag or commit on the hub; None is the main branch.
    """
    folder = NANO_FOLDER
    if model.repository is not None:
        found = _find_snapshot(model.repository, revision or "main")
        if found is None:
            return "absent", None
        folder = found
    if not (folder / CONFIG_NAME).exists() and model.repository is None:
        return "absent", None
    return ("incomplete" if missing_files(folder) else "ready"), folder


def missing_files(folder: Path) -> list[str]:
    """List what a model folder lacks before it can be opened."""
    missing = [CONFIG_NAME] if not (folder / CONFIG_NAME).is_file() else []
    if not any((folder / name).is_file() for name in TOKENIZER_NAMES):
        missing.append(TOKENIZER_NAMES[0])
    if (folder / INDEX_NAME).is_file():
        places = read_json_object(folder, INDEX_NAME).get("weight_map")
        shards = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
        return missing + [shard for shard in shards if not (folder / shard).is_file()]
    return missing if (folder / WEIGHTS_NAME).is_file() else [*missing, WEIGHTS_NAME]


def _resolve_known(model: KnownModel) -> Path:
    state, folder = locate(model)
    if folder is not None and state == "ready":
        return folder
    if model.repository is None:
        raise CheckpointError(
            f"the embedded model {model.name} is not in this installation; install codegemma again"
        )
    if folder is not None:
        raise CheckpointError(
            f"{model.name} is only partly on this machine ({missing_files(folder)[0]} is missing); "
            f"go on with: codegemma pull {model.name}"
        )
    hint = f"; the folder here is ./{model.name}" if Path(model.name).is_dir() else ""
    raise CheckpointError(
        f"{model.name} is not on this machine; get it with: codegemma pull {model.name}{hint}"
    )


def _resolve_folder(path: Path) -> Path:
    # A run's own config.json is not a model's, so the model in it comes first.
    for folder in (path / "model", path):
        if (folder / CONFIG_NAME).exists():
            if folder == path and (path / "metrics.jsonl").exists():
                raise CheckpointError(
                    f"{path} is a training run without a model yet: it is written when the run "
                    "ends or is stopped with Ctrl-C; go on with the same `codegemma train` "
                    "command, with --minutes for one that ends"
                )
            return folder
    raise CheckpointError(f"{path} is no model folder: expected {CONFIG_NAME} in it")


def _suggest(name: str) -> str:
    names = [model.name for model in MODELS]
    close = difflib.get_close_matches(name.rpartition("/")[2].lower(), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known models: {', '.join(names)}"


def _find_snapshot(repository: str, revision: str) -> Path | None:
    """Find a snapshot in the hub's cache by its documented layout.

    The hub's own package would do it too, after half a second of imports.
    """
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    reference = root / "refs" / revision
    try:
        commit = reference.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        commit = revision
    if not commit or os.sep in commit or commit.startswith("."):
        return None
    folder = root / "snapshots" / commit
    return folder if folder.is_dir() else None
