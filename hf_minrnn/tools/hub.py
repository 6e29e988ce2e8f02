# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks the folder of a finished model and pushes it to the Hub with its code, in one commit. Each error is one line."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HTTPError,  # pyright: ignore[reportPrivateImportUsage] # that of its HTTP client
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import filter_repo_objects
from safetensors import SafetensorError, safe_open

from .. import hub_minrnn
from ..compat import get_relative_import_files
from ..configuration_minrnn import AUTO_MAP, MinRNNConfig
from ..modeling_minrnn import MinRNNForCausalLM
from .checkpoints import listed
from .local_paths import LocalPathError, without_local_paths

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CARD = "README.md"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
# Not pushed: the state of a training run, which may contain anything, even a token, and hidden files.
LEFT_OUT = [".*", "*/.*", "*__pycache__/*", "checkpoint*", "*.partial", "*tfevents*", "trainer_state.json"]
LEFT_OUT += ["*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt"]
# Files of trackers, with paths and names of the machine.
LEFT_OUT += ["*hparams.yml", "wandb/*", "*/wandb/*", "*.wandb", "mlruns/*", "trackio/*"]
# Deleted if an earlier push left them: what from_pretrained might read instead of the new files, and results of other weights.
OUTDATED = re.compile(
    r"(pytorch_|adapter_)?model(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?|(adapter|generation)_config\.json"
    r"|(results|evaluation|trained_on)\.json|(evaluation|loss)\.png|samples\.txt"
)
# The line of a card's example with the model's folder or repository.
PLACE = re.compile(rb'^(name = )".*"(  # the model\'s folder, or its repository on the Hub)$', re.MULTILINE)
SAVE_AGAIN = "save the model again with save_pretrained"


class PushError(OSError):
    """Raised if a folder cannot be pushed or the Hub rejects it. The message is one line with the remedy."""


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> str:
    """Pushes a finished model to the Hub in one commit.

    The commit contains the weights (one file or shards), config, generation config, tokenizer, card, results, plots and
    samples, and the code with a complete `auto_map`. Checkpoints, pickles and hidden files are not pushed. Files that the
    repository already has are not sent again. Weights, adapters and results of an earlier push that the folder no longer has
    are deleted.

    The folder is not changed. If it lacks the code, only the repository gets it. The example in the repository's card gets the
    name of the repository. Absolute paths that result files record are replaced by their last component.

    Args:
        folder (`str` or `Path`): The folder that `save_pretrained` or `train_lm.py` wrote, with a card, README.md.
        repo_id (`str`): The repository, `owner/name`, or only a name for one of your own. It is created if it does not exist.
        private (`bool`, *optional*): Whether a new repository is private.
        revision (`str`, *optional*): The branch, `main` by default. It is created if it does not exist.
        message (`str`, *optional*): The title of the commit.
        token (`str`, *optional*): A token to use instead of that of `hf auth login` or `HF_TOKEN`. It is never written to a
            file.

    Returns:
        `str`: The URL.

    Raises:
        PushError: If the folder is not a finished model, a file names a folder of this machine, the token is missing or
            rejected, or the Hub cannot be reached or reports an error. The folder is unchanged, and the call can be repeated.

    >>> push_folder("no/such/folder", "me/my-mingru")
    Traceback (most recent call last):
    ...
    hf_minrnn.tools.hub.PushError: no/such/folder does not exist: give the folder of a saved model
    """
    folder = Path(folder).expanduser()
    config = check_folder(folder)
    repo_id = make_repository(repo_id, private=private, token=token)
    api = HfApi(token=token)
    with _explained(repo_id), tempfile.TemporaryDirectory() as extra:
        files = _files(folder) | _missing_code(folder, config, Path(extra))
        card = PLACE.sub(rb'\1"%b"\2' % repo_id.encode(), files[CARD].read_bytes())
        if revision and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        contents = without_local_paths({**files, CARD: card}, folder)
        outdated = [name for name in api.list_repo_files(repo_id, revision=revision) if OUTDATED.fullmatch(name)]
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = []
        operations += [CommitOperationAdd(name, content) for name, content in sorted(contents.items())]
        operations += [CommitOperationDelete(name) for name in outdated if name not in files]
        message = message or f"Upload a {config.cell_type} model"
        # upload_folder may make several commits. Between them, a reader would get new weights with an old config.
        api.create_commit(repo_id, operations, commit_message=message, revision=revision)
    url = f"{api.endpoint}/{repo_id}"
    return f"{url}/tree/{revision}" if revision else url


def make_repository(repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Creates a model repository if it does not exist. Call it before a long training, so that errors show early.

    Args:
        repo_id (`str`): `owner/name`, or only a name for one of your own.
        private (`bool`, *optional*): Whether a new repository is private.
        token (`str`, *optional*): A token to use instead of that of `hf auth login` or `HF_TOKEN`.

    Returns:
        `str`: `owner/name`.

    Raises:
        PushError: If the repository does not exist and cannot be created.
    """
    secret = token or get_token()
    if not secret:
        raise PushError(f"{repo_id}: no token for the Hub: log in with `hf auth login`, or set HF_TOKEN")
    if not re.fullmatch("[!-~]+", secret):  # the HTTP client's own error would quote the token
        raise PushError(f"{repo_id}: the token for the Hub contains a blank or an invalid character: copy it again")
    api = HfApi(token=token)
    with _explained(repo_id):
        if "/" not in repo_id:  # create_repo would add the owner, but the other functions would not
            repo_id = f"{api.whoami()['name']}/{repo_id}"
        if not api.repo_exists(repo_id):
            api.create_repo(repo_id, private=private)
    return repo_id


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    try:
        yield
    except LocalPathError as error:
        raise PushError(str(error)) from None
    except (HTTPError, OSError, RuntimeError, ValueError) as error:  # from the Hub, the network, or the files
        raise PushError(f"{repo_id}: {' '.join(_explain(error, repo_id).split())}") from None


def _explain(error: BaseException, repo_id: str) -> str:
    """Returns the message of an error, with a remedy."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:  # from the upload of one of several files
        error = error.__cause__
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing can be pushed: unset it"
    kind = type(error).__name__
    message = str(error)
    if not isinstance(error, HTTPError):
        return f"{message.rstrip('.') or kind}: correct this, then push again"
    response = getattr(error, "response", None)
    if response is None:
        if kind.startswith("Connect"):
            return f"{HfApi().endpoint} cannot be reached ({message or kind}): check the network and HF_ENDPOINT"
        return f"the connection to {HfApi().endpoint} was interrupted ({message or kind}): push again"
    status = response.status_code
    remedies = {
        401: "log in with `hf auth login`, with a token that can write",
        403: f"use a token that can write to {repo_id} (https://huggingface.co/settings/tokens), or another name",
        404: "check the name and the revision, and whether the token has access to them",
        409: "something else is changing the repository: push again",
        429: "wait some minutes, then push again",
    }
    default = "the Hub has an error: push again later" if status >= 500 else "correct this, then push again"
    message = getattr(error, "server_message", None) or response.reason_phrase
    return f"the Hub answers {status} ({message}): {remedies.get(status, default)}"


def check_folder(folder: str | Path) -> MinRNNConfig:
    """Checks that a folder contains a complete model of this package with a card, without loading its weights.

    Args:
        folder (`str` or `Path`): The folder.

    Returns:
        `MinRNNConfig`: The configuration of the model.

    Raises:
        PushError: If something is missing or damaged. The message names it.
    """
    folder = Path(folder).expanduser()
    check_is_folder(folder)
    config = read_config(folder)
    _check_weights(folder, config)
    has_tokenizer = any((folder / name).is_file() for name in TOKENIZER)
    if config.architectures == [MinRNNForCausalLM.__name__] and not has_tokenizer:
        raise PushError(
            f"{folder} has no tokenizer: add it with tokenizer.save_pretrained, or use model.push_to_hub for a model of data "
            "other than text"
        )
    if not (folder / CARD).is_file():
        raise PushError(f"{folder} has no card, {CARD}: write one, or run `hf-minrnn card {folder}`")
    return config


def check_is_folder(folder: Path) -> None:
    """Raises a `PushError` if the path is not a folder."""
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise PushError(f"{folder} {state}: give the folder of a saved model")


def read_config(folder: Path) -> MinRNNConfig:
    """Returns the configuration of a model of this package. Raises a `PushError` if the folder has none."""
    path = folder / "config.json"
    if not path.is_file() and (folder / "adapter_config.json").is_file():
        raise PushError(
            f"{folder} is a PEFT adapter: push it with peft_model.push_to_hub, or merge it into its base model first, with "
            "peft_model.merge_and_unload().save_pretrained"
        )
    if not path.is_file():
        raise PushError(f"{folder} has no config.json: give a folder that save_pretrained or train_lm.py wrote")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.get("model_type")
        if kind != MinRNNConfig.model_type:
            raise PushError(f"{folder} contains a model of type {kind}: give the folder of a minGRU or minLSTM")
        config = MinRNNConfig.from_pretrained(folder)
    except PushError:
        raise
    except Exception as error:  # of many types: from JSON, the file system, or the configuration
        raise PushError(f"{path} cannot be read ({' '.join(str(error).split())}): save the model again") from error
    names = config.architectures or []
    if len(names) != 1 or names[0] not in set(hub_minrnn.__all__) - {MinRNNConfig.__name__}:
        raise PushError(
            f"{path} has the architectures {names}, not one of this package: save the model again with save_pretrained"
        )
    return config


def _check_weights(folder: Path, config: MinRNNConfig) -> None:
    """Checks that weight files are not damaged and no tensor is missing: transformers would initialise it at random."""
    wanted, files = _weight_files(folder)
    shapes = _shapes(folder, files)
    problems = listed("lack", sorted(wanted - set(shapes)), 3)
    if getattr(config, "quantization_config", None) is None:  # quantization changes names and shapes
        with torch.device("meta"):
            name = config.architectures[0]  # pyright: ignore[reportOptionalSubscript] # read_config has checked it
            model = getattr(hub_minrnn, name)(config)
        model_shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        tied = set(model.all_tied_weights_keys)
        problems = problems or listed("lack", (name for name in model_shapes if name not in {*shapes, *tied}), 3)
        different = (name for name, shape in model_shapes.items() if shapes.get(name, shape) != shape)
        problems += listed("have other shapes than config.json requires:", different, 3)
    if problems:
        raise PushError(f"the weights in {folder} {'; they '.join(problems)}: {SAVE_AGAIN}")


def _weight_files(folder: Path) -> tuple[set[str], list[str]]:
    """The names of the tensors in the index, where there is one, and the files of the weights."""
    if (folder / WEIGHTS).is_file():
        return set(), [WEIGHTS]
    if not (folder / INDEX).is_file():
        raise PushError(f"{folder} has no weights, neither {WEIGHTS} nor {INDEX}: {SAVE_AGAIN}")
    try:
        places = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        return set(places), sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PushError(f"{folder / INDEX} cannot be read ({type(error).__name__}): {SAVE_AGAIN}") from error


def _shapes(folder: Path, files: list[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in some files, by name."""
    shapes = {}
    for name in files:
        try:
            with safe_open(folder / name, "pt") as file:
                names = file.keys()
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in names}
        except (OSError, SafetensorError) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
            raise PushError(f"{folder / name} {reason}: {SAVE_AGAIN}") from error
    return shapes


def _files(folder: Path) -> dict[str, Path]:
    """The files to push, by their name in the repository."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: found[name] for name in filter_repo_objects(found, ignore_patterns=LEFT_OUT)}


def _missing_code(folder: Path, config: MinRNNConfig, extra: Path) -> dict[str, Path]:
    """This package's code and a config that refers to it, or nothing if the folder has complete code of its own."""
    own = getattr(config, "auto_map", None) or {}
    entry_point = folder / f"{hub_minrnn.__name__.rpartition('.')[2]}.py"
    with suppress(FileNotFoundError):
        if AUTO_MAP.items() <= own.items() and get_relative_import_files(entry_point):
            return {}
    config.auto_map = own or dict(AUTO_MAP)  # save_pretrained completes it
    config.save_pretrained(extra)
    return {path.name: path for path in extra.iterdir()}


__all__ = ["PushError", "check_folder", "check_is_folder", "make_repository", "push_folder", "read_config"]
