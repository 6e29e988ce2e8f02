# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A finished model's folder on the Hub: checked, with the code that loads it, in one commit; what fails, in one line."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # HTTPError: of whichever HTTP client it uses
from huggingface_hub.utils import filter_repo_objects
from safetensors import SafetensorError, safe_open

from .. import hub_minrnn
from ..compat import get_relative_import_files
from ..configuration_minrnn import AUTO_MAP, MinRNNConfig
from ..modeling_minrnn import MinRNNForCausalLM
from .checkpoints import listed

WEIGHTS, INDEX, CARD = "model.safetensors", "model.safetensors.index.json", "README.md"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
# State of a training run, which may hold anything, a token too, and hidden files.
LEFT_OUT = [".*", "*/.*", "*__pycache__/*", "checkpoint*", "*.partial", "*tfevents*", "trainer_state.json"]
LEFT_OUT += ["*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt"]
# Of an earlier push: what from_pretrained might read instead of, or beside, what is pushed, and what was measured of others.
OUTDATED = re.compile(
    r"(pytorch_|adapter_)?model(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?|(adapter|generation)_config\.json"
    r"|(results|evaluation)\.json|(evaluation|loss)\.png|samples\.txt"
)
# The line of a card's example that says where the model is.
PLACE = re.compile(rb'^(name = )".*"(  # the model\'s folder, or its repository on the Hub)$', re.MULTILINE)


class PushError(OSError):
    """A folder that cannot be pushed, or a Hub that does not take it; the message is one line with the remedy."""


def push_folder(
    folder,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> str:
    """Pushes a finished model to the Hub, all of it in one commit: weights (one file or shards), config, generation config,
    tokenizer, card, results, plots and samples, and the code with a complete `auto_map`. A folder that lacks the code stays
    as it is: only what is pushed gets it, as the card's example gets the repository's name. Checkpoints, pickles and hidden
    files are left out. Files that are the same there are not sent again, and weights, adapters and results of an earlier push
    that the folder no longer has are deleted.

    Args:
        folder (`str` or `Path`): What `save_pretrained` or `train_lm.py` wrote, with the card, README.md.
        repo_id (`str`): The repository, `owner/name`, or a name of one's own. It is made if there is none.
        private (`bool`, *optional*): Whether a new repository is private.
        revision (`str`, *optional*): The branch; made if there is none. `main` by default.
        message (`str`, *optional*): The commit's title.
        token (`str`, *optional*): Instead of the one of `hf auth login` or `HF_TOKEN`. It is sent, never written.

    Returns:
        `str`: The URL.

    Raises:
        PushError: The folder is no finished model, the token is missing or refused, or the Hub or the way to it failed. The
            folder is as it was, and the call can be repeated.

    >>> push_folder("no/such/folder", "me/my-mingru")
    Traceback (most recent call last):
    ...
    hf_minrnn.tools.hub.PushError: no/such/folder is not there: give the folder of a saved model
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
        there = api.list_repo_files(repo_id, revision=revision)
        operations = [CommitOperationAdd(name, path) for name, path in sorted((files | {CARD: card}).items())]
        operations += [CommitOperationDelete(name) for name in there if OUTDATED.fullmatch(name) and name not in files]
        message = message or f"Upload a {config.cell_type} model"
        # Not upload_folder, which may make several commits: a reader would meet new weights with an old config.
        api.create_commit(repo_id, operations, commit_message=message, revision=revision)
    return f"{api.endpoint}/{repo_id}" + (f"/tree/{revision}" if revision else "")


def make_repository(repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Makes sure that there is a model repository of this name, as one does before hours of training.

    Args:
        repo_id (`str`): `owner/name`, or a name of one's own.
        private (`bool`, *optional*): Whether a new one is private.
        token (`str`, *optional*): Instead of the one of `hf auth login` or `HF_TOKEN`.

    Returns:
        `str`: `owner/name`.

    Raises:
        PushError: There is none and it cannot be made.
    """
    secret = token or get_token()
    if not secret:
        raise PushError(f"{repo_id}: no token for the Hub: log in with `hf auth login`, or set HF_TOKEN")
    if not re.fullmatch("[!-~]+", secret):  # which the HTTP client would refuse by quoting it
        raise PushError(f"{repo_id}: the token for the Hub has a blank or another odd sign in it: copy it again")
    api = HfApi(token=token)
    with _explained(repo_id):
        if "/" not in repo_id:  # create_repo would add the owner, all else would look for another's by this name
            repo_id = f"{api.whoami()['name']}/{repo_id}"
        if not api.repo_exists(repo_id):
            api.create_repo(repo_id, private=private)
    return repo_id


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:  # of the Hub, the way to it, and what is pushed
        raise PushError(f"{repo_id}: {' '.join(_explain(error, repo_id).split())}") from None


def _explain(error: BaseException, repo_id: str) -> str:
    while isinstance(error, RuntimeError) and error.__cause__ is not None:  # the upload of one of several files
        error = error.__cause__
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so that nothing is sent: unset it"
    kind, said = type(error).__name__, str(error)
    if not isinstance(error, HTTPError):
        return f"{said.rstrip('.') or kind}: put that right, then push again"
    response = getattr(error, "response", None)
    if response is None:
        if kind.startswith("Connect"):
            return f"{HfApi().endpoint} cannot be reached ({said or kind}): check the network and HF_ENDPOINT"
        return f"the connection to {HfApi().endpoint} broke off ({said or kind}): push again"
    status = response.status_code
    remedies = {
        401: "log in with `hf auth login`, with a token that may write",
        403: f"take a token that may write to {repo_id} (https://huggingface.co/settings/tokens), or another name",
        404: "check the name and the revision, and that the token may see them",
        409: "something else is changing the repository: push again",
        429: "wait some minutes, then push again",
    }
    remedy = remedies.get(status, "the fault is the Hub's: push again later" if status >= 500 else "put that right")
    said = getattr(error, "server_message", None) or response.reason_phrase
    return f"the Hub answers {status} ({said}): {remedy}"


def check_folder(folder) -> MinRNNConfig:
    """Makes sure that a folder is a whole model of this package with a card, without loading its weights.

    Args:
        folder (`str` or `Path`): The folder.

    Returns:
        `MinRNNConfig`: The model's.

    Raises:
        PushError: It is none, by what it lacks.
    """
    folder = Path(folder).expanduser()
    check_is_folder(folder)
    config = read_config(folder)
    _check_weights(folder, config)
    if config.architectures == [MinRNNForCausalLM.__name__] and not any(
        (folder / name).is_file() for name in TOKENIZER
    ):
        raise PushError(
            f"{folder} has no tokenizer: put the model's there by tokenizer.save_pretrained; a model of something else "
            "than text is pushed by model.push_to_hub"
        )
    if not (folder / CARD).is_file():
        raise PushError(f"{folder} has no {CARD}, the card: write one, or have it written by `hf-minrnn card {folder}`")
    return config


def check_is_folder(folder: Path):
    """Raises a `PushError` where there is no folder."""
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "is not there"
        raise PushError(f"{folder} {state}: give the folder of a saved model")


def read_config(folder: Path) -> MinRNNConfig:
    """The configuration of a model of this package; a `PushError` where the folder holds none."""
    path = folder / "config.json"
    if not path.is_file() and (folder / "adapter_config.json").is_file():
        raise PushError(
            f"{folder} is an adapter of PEFT: push it with peft_model.push_to_hub, or merge it into its base model first, "
            "with peft_model.merge_and_unload().save_pretrained"
        )
    if not path.is_file():
        raise PushError(f"{folder} has no config.json: give a folder that save_pretrained or train_lm.py wrote")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.get("model_type")
        if kind != MinRNNConfig.model_type:
            raise PushError(f"{folder} holds a model of type {kind}: give the folder of a minGRU or minLSTM")
        config = MinRNNConfig.from_pretrained(folder)
    except PushError:
        raise
    except Exception as error:  # many types, of JSON, of the file system and of the configuration itself
        raise PushError(f"{path} cannot be read ({' '.join(str(error).split())}): save the model again") from error
    names = config.architectures or []
    if len(names) != 1 or names[0] not in set(hub_minrnn.__all__) - {MinRNNConfig.__name__}:
        raise PushError(f"{path} names no model of this package ({names}): save the model again by save_pretrained")
    return config


def _check_weights(folder: Path, config: MinRNNConfig):
    """Every file is whole, and every tensor of the model is there: transformers would draw what is missing at random."""
    again = "save the model again by save_pretrained"
    wanted, files = set(), [WEIGHTS]
    if not (folder / WEIGHTS).is_file():
        if not (folder / INDEX).is_file():
            raise PushError(f"{folder} has no weights, neither {WEIGHTS} nor {INDEX}: {again}")
        try:
            places = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
            wanted, files = set(places), sorted(set(places.values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise PushError(f"{folder / INDEX} cannot be read ({type(error).__name__}): {again}") from error
    shapes = {}
    for name in files:
        try:
            with safe_open(folder / name, "pt") as file:
                names = file.keys()
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in names}
        except (OSError, SafetensorError) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
            raise PushError(f"{folder / name} {reason}: {again}") from error
    problems = listed("lack", sorted(wanted - set(shapes)), 3)
    if getattr(config, "quantization_config", None) is None:  # which changes names and shapes
        with torch.device("meta"):
            model = getattr(hub_minrnn, config.architectures[0])(config)
        model_shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        tied = set(model.all_tied_weights_keys)
        problems = problems or listed("lack", (name for name in model_shapes if name not in {*shapes, *tied}), 3)
        unlike = (name for name, shape in model_shapes.items() if shapes.get(name, shape) != shape)
        problems += listed("have other shapes than config.json says:", unlike, 3)
    if problems:
        raise PushError(f"the weights in {folder} {'; they '.join(problems)}: {again}")


def _files(folder: Path) -> dict[str, Path]:
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: found[name] for name in filter_repo_objects(found, ignore_patterns=LEFT_OUT)}


def _missing_code(folder: Path, config: MinRNNConfig, extra: Path) -> dict[str, Path]:
    """This package's code and a config that names it, unless the folder has all of its own already, never a mixture."""
    own = getattr(config, "auto_map", None) or {}
    door = folder / f"{hub_minrnn.__name__.rpartition('.')[2]}.py"
    with suppress(FileNotFoundError):
        if AUTO_MAP.items() <= own.items() and get_relative_import_files(door):
            return {}
    config.auto_map = own or dict(AUTO_MAP)  # what is saved is complete in either case
    config.save_pretrained(extra)
    return {path.name: path for path in extra.iterdir()}


__all__ = ["PushError", "check_folder", "check_is_folder", "make_repository", "push_folder", "read_config"]
