# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Writes a model card for the folder of a saved or fine-tuned minGRU or minLSTM, or of an adapter, from the files in it."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id
from yaml import YAMLError

from ..configuration_minrnn import MinRNNConfig
from .hub import CARD, TOKENIZER, PushError, check_is_folder, read_config
from .local_paths import public_path

LICENSES = "https://huggingface.co/docs/hub/repositories-licenses"
CELLS = {"mingru": "minGRU", "minlstm": "minLSTM"}
# The Hub's name for the task of each model, and the Auto class that loads the model.
TASKS = {
    "MinRNNForCausalLM": ("text-generation", "AutoModelForCausalLM"),
    "MinRNNForQuestionAnswering": ("question-answering", "AutoModelForQuestionAnswering"),
    "MinRNNForSequenceClassification": ("text-classification", "AutoModelForSequenceClassification"),
    "MinRNNForTokenClassification": ("token-classification", "AutoModelForTokenClassification"),
    "MinRNNModel": ("feature-extraction", "AutoModel"),
}
PEFT_TASKS = {
    "CAUSAL_LM": "MinRNNForCausalLM",
    "QUESTION_ANS": "MinRNNForQuestionAnswering",
    "SEQ_CLS": "MinRNNForSequenceClassification",
    "TOKEN_CLS": "MinRNNForTokenClassification",
    "FEATURE_EXTRACTION": "MinRNNModel",
}
WITHOUT_PIPELINE = ("question-answering",)  # tasks without a pipeline in transformers
COMMENT = (
    "<!-- Written by `hf-minrnn card`, which replaces the card while this line is there. Remove it when you edit. -->"
)
# Text that marks a card as generated and unedited, for each tool that writes cards.
UNEDITED = (
    COMMENT,
    "<!-- This model card has been generated automatically according to the information the Trainer had access to.",
    "# Model Card for Model ID\n\n<!-- Provide a quick summary of what the model is/does. -->",
)
# TRL's cards have no text that an editor is asked to remove. They count as unedited if they have exactly TRL's headings.
TRL_SENTENCE = "\nIt has been trained using [TRL](https://github.com/huggingface/trl).\n\n## Quick start\n"
TRL_HEADINGS = ["## Quick start", "## Training procedure", "### Framework versions", "## Citations"]
# Values of trainer_state.json by their title in the card, and the measurements in its log that the card shows: no timings.
STATE = {"steps": "global_step", "epochs": "epoch", "rows per device and step": "train_batch_size"}
MEASURED = re.compile(r"eval_(?!.*(runtime|per_second|_time)$).+")
# Metadata that are kept when an unedited card is replaced.
KEPT = ("base_model", "datasets", "language", "license", "license_link", "license_name")


class CardError(ValueError):
    """Raised if a card cannot be written. The message is one line with the remedy."""


def write_card(
    folder: str | Path,
    *,
    base_model: str | None = None,
    license: str | None = None,
    datasets: Sequence[str] = (),
    language: str | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the card, README.md, of a saved model from the files in its folder.

    These are `config.json`, or `adapter_config.json` of PEFT, the tokenizer, and `trainer_state.json`, in the folder or in its
    newest checkpoint.

    A card that somebody has written or edited is not replaced. A card that `Trainer`, TRL, PEFT or this function wrote, and
    that nobody has edited since, is replaced. The base model, data sets, language and licence of its metadata are kept unless
    an argument gives another value.

    Args:
        folder (`str` or `Path`): The folder that `save_pretrained` or `Trainer.save_model` wrote.
        base_model (`str`, *optional*): Name on the Hub of the model that was fine-tuned. By default the base model that an
            adapter names.
        license (`str`, *optional*): An identifier from https://huggingface.co/docs/hub/repositories-licenses.
        datasets (sequence of `str`, *optional*): Names on the Hub of the data sets that the model was trained on.
        language (`str`, *optional*): Language of the data, such as `"en"` or `"zh-CN"`, or `"code"`.
        name (`str`, *optional*): The title of the card. By default the name of the folder.
        overwrite (`bool`, defaults to `False`): Whether to replace a card that somebody has written or edited.

    Returns:
        `Path`: The path of the card.

    Raises:
        CardError: If the folder contains no model of this package, the Hub does not accept a value, or somebody has written or
            edited the card.

    >>> write_card("no/such/folder")
    Traceback (most recent call last):
    ...
    hf_minrnn.tools.card.CardError: no/such/folder does not exist: give the folder of a saved model
    """
    place = public_path(Path(folder).as_posix())
    folder = Path(folder).expanduser()
    try:
        check_is_folder(folder)
        model = _read_adapter(folder) if _is_adapter(folder) else _read_model(folder)
    except PushError as error:
        raise CardError(str(error)) from None
    _check(base_model, datasets, license, language)
    kept = _metadata_to_keep(folder / CARD, overwrite)
    given = {"base_model": base_model or model["base_model"], "datasets": list(datasets)}
    given |= {"license": license, "language": language}
    values = kept | {key: value for key, value in given.items() if value}
    data = card_data(model["architecture"], model["cell"], adapter=model["adapter"], code=model["code"], **values)
    text = _text(folder, name or place.rpartition("/")[2], place, model, data)
    (folder / CARD).write_text(text, encoding="utf-8")
    return folder / CARD


def card_data(
    architecture: str, cell: str | None, *, adapter: bool = False, code: bool = False, **values
) -> ModelCardData:
    """Returns the metadata of a card, with the fields that all cards of this package share.

    Args:
        architecture (`str`): Class of the model.
        cell (`str`, *optional*): `"mingru"` or `"minlstm"`, if known.
        adapter (`bool`, defaults to `False`): Whether the model is a PEFT adapter.
        code (`bool`, defaults to `False`): Whether the folder contains the model's code.
        values: Other fields of `huggingface_hub.ModelCardData`.

    >>> card_data("MinRNNForCausalLM", "mingru", license="mit").to_dict()
    {'library_name': 'transformers', 'license': 'mit', 'pipeline_tag': 'text-generation',
    'tags': ['minrnn', 'mingru', 'recurrent', 'rnn']}
    """
    tags = ["minrnn", cell, "recurrent", "rnn", "custom_code" if code else None, "adapter" if adapter else None]
    return ModelCardData(
        library_name="peft" if adapter else "transformers",
        pipeline_tag=TASKS[architecture][0],
        tags=[tag for tag in tags if tag],
        **values,
    )


def usage(
    architecture: str, place: str, *, code: bool, adapter: bool = False, tokenizer: bool = True, prompt: str = "The "
) -> str:
    """Returns the section of a card that shows how to load the model, in Markdown.

    Args:
        architecture (`str`): Class of the model.
        place (`str`): The folder. `push_folder` replaces it by the name of the repository.
        code (`bool`): Whether the folder contains the model's code.
        adapter (`bool`, defaults to `False`): Whether the model is a PEFT adapter.
        tokenizer (`bool`, defaults to `True`): Whether the folder has a tokenizer.
        prompt (`str`, defaults to `"The "`): Text of the example.
    """
    task, loader = TASKS[architecture]
    if adapter:
        loader = loader.replace("Auto", "AutoPeft")
    elif tokenizer and task not in WITHOUT_PIPELINE:
        loader = "pipeline"
    options = ', trust_remote_code=True, revision="main"' if code else ""
    lines = [f"from {'peft' if adapter else 'transformers'} import {loader}", ""]
    lines.append(f"name = {json.dumps(place)}  # the model's folder, or its repository on the Hub")
    if loader != "pipeline":
        lines.append(f"model = {loader}.from_pretrained(name{options})")
    elif task == "text-generation":
        lines.append(f'writer = pipeline("{task}", model=name{options})')
        lines.append(f'print(writer({json.dumps(prompt)}, max_new_tokens=60)[0]["generated_text"])')
    else:
        lines.append(f'reader = pipeline("{task}", model=name{options})')
        lines.append(f"print(reader({json.dumps(prompt)}))")
    if not code:
        lines.insert(0, "import hf_minrnn  # registers the model type")
    explanation = WITH_CODE if code else WITHOUT_CODE
    if adapter:
        explanation = ADAPTER
    return "\n".join(["## Use", "", "```python", *lines, "```", "", explanation])


PAPER = '"Were RNNs All We Needed?", [arXiv 2410.01201](https://arxiv.org/abs/2410.01201)'
LIMITS = """\
This card was generated from the model's files. Its authors should add what the training data contains, what the model is
suitable for and where it fails."""
WITH_CODE = """\
`trust_remote_code=True` runs the code that is stored with the weights, and `revision="main"` takes its newest version. A commit
hash in place of `main` is safer: it pins the code to what you have read. With hf_minrnn installed, `import hf_minrnn` before
the model is loaded does the same without `trust_remote_code=True`. One of the two is needed: transformers itself does not know
the model type `minrnn`."""
WITHOUT_CODE = """\
Without the first line, transformers raises an error because it does not know the model type `minrnn`. If hf_minrnn is not
installed, leave out that line and pass `trust_remote_code=True, revision="main"`. This works if the code, `hub_minrnn.py`, is
stored with the weights, which `hf-minrnn push` does. A commit hash in place of `main` pins the code."""
ADAPTER = """\
PEFT loads the base model that the adapter names, and then the adapter. Without the first line, transformers raises an error
because it does not know the base model's type `minrnn`. If hf_minrnn is not installed, leave out that line and pass
`trust_remote_code=True`. This works if the repository of the base model contains the code, `hub_minrnn.py`, which
`hf-minrnn push` stores there."""


# --- contents of the folder


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _read_model(folder: Path) -> dict:
    config = read_config(folder)
    return {
        "architecture": config.architectures[0],  # pyright: ignore[reportOptionalSubscript] # read_config has checked it
        "cell": config.cell_type,
        "adapter": False,
        "code": bool(getattr(config, "auto_map", None)),
        "config": config,
        "base_model": None,
    }


def _read_adapter(folder: Path) -> dict:
    values = _read_json(folder / "adapter_config.json")
    base = values.get("base_model_name_or_path")
    task = values.get("task_type")
    config = {}
    if base:
        with suppress(OSError, ValueError):  # the base model is not on this machine, and may be a minGRU or minLSTM
            config = MinRNNConfig.get_config_dict(base, local_files_only=True)[0]
    kind = config.get("model_type", MinRNNConfig.model_type)
    if kind != MinRNNConfig.model_type:
        raise CardError(f"{folder} adapts {base}, a model of type {kind}: give an adapter of a minGRU or minLSTM")
    architecture = (config.get("architectures") or [None])[0]
    if task in PEFT_TASKS:
        architecture = PEFT_TASKS[task]
    if architecture not in TASKS:
        tasks = ", ".join(PEFT_TASKS)
        raise CardError(f"{folder}/adapter_config.json has task type {task}: create the adapter with one of {tasks}")
    return {
        "architecture": architecture,
        "cell": config.get("cell_type"),
        "adapter": True,
        "code": False,
        "config": None,
        "base_model": base if _is_on_hub(base) else None,
    }


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"{path} cannot be read ({_one_line(error)}): save it again") from error
    if not isinstance(values, dict):
        raise CardError(f"{path} contains a {type(values).__name__}, not an object: save it again")
    return values


def _training(folder: Path) -> list[tuple[str, object]]:
    """Titles and values from the state of Trainer; empty if Trainer was not used."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
    states = [place / "trainer_state.json" for place in (folder, *reversed(checkpoints))]
    found = [path for path in states if path.is_file()]
    if not found:
        return []
    state = _read_json(found[0])
    log = [entry for entry in state.get("log_history") or [] if isinstance(entry, dict)]
    facts = [(title, state.get(key)) for title, key in STATE.items()]
    facts += [("last training loss", entry["loss"]) for entry in log if "loss" in entry][-1:]
    evaluated = [entry for entry in log if "eval_loss" in entry][-1:]
    facts += [(key, value) for entry in evaluated for key, value in entry.items() if MEASURED.fullmatch(key)]
    return [(title, value) for title, value in facts if value is not None]


# --- the card


def _metadata_to_keep(path: Path, overwrite: bool) -> dict:
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        data = ModelCard(text).data.to_dict()
    except (OSError, ValueError, YAMLError) as error:
        if overwrite:
            return {}
        raise CardError(
            f"{path} cannot be read ({_one_line(error)}): repair it, or pass overwrite=True (--overwrite)"
        ) from error
    if not overwrite and not _is_unedited(text, data):
        raise CardError(f"{path} was written or edited by hand: pass overwrite=True (--overwrite) to replace it")
    if not _is_on_hub(data.get("base_model")):  # PEFT writes the path of a folder
        data.pop("base_model", None)
    return {key: data[key] for key in KEPT if data.get(key)}


def _is_unedited(text: str, data: dict) -> bool:
    headings = re.findall("^#.*", text, flags=re.MULTILINE)
    by_trl = "generated_from_trainer" in (data.get("tags") or []) and TRL_SENTENCE in text
    return any(mark in text for mark in UNEDITED) or (by_trl and headings[1:] == TRL_HEADINGS)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _is_on_hub(name) -> bool:
    """Whether `name` can be a name on the Hub and is not a path on this machine."""
    if not isinstance(name, str):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def _check(base_model: str | None, datasets: Sequence[str], license: str | None, language: str | None) -> None:
    """Rejects values that the Hub does not accept."""
    for kind, name in (("base_model", base_model), *(("dataset", name) for name in datasets)):
        if name and not _is_on_hub(name):
            raise CardError(
                f"{kind} must be a name on the Hub, such as owner/name, got {name!r}: push it first, or omit it"
            )
    if license and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise CardError(f"license must be an identifier such as apache-2.0, got {license!r}: see {LICENSES}")
    if language and not re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]{1,8})*|code|multilingual", language):
        raise CardError(f"language must be a code such as en or zh-CN, or code, or multilingual, got {language!r}")


def _links(names, path: str = "") -> str:
    names = [names] if isinstance(names, str) else names
    return ", ".join(f"[{name}](https://huggingface.co/{path}{name})" for name in names)


def _shown(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(facts) -> list[str]:
    return ["| | |", "| :-- | :-- |", *(f"| {title} | {_shown(value)} |" for title, value in facts)]


def _text(folder: Path, name: str, place: str, model: dict, data: ModelCardData) -> str:
    cell = CELLS.get(model["cell"], "minGRU or minLSTM")
    task = str(data.pipeline_tag).replace("-", " ")
    kind = f"An adapter of a {cell} model" if model["adapter"] else f"A {cell} model"
    lines = ["---", data.to_yaml(), "---", "", f"# {name}", "", COMMENT, ""]
    lines += [f"{kind} for {task} ({PAPER}), by hf_minrnn."]
    if data.base_model:
        lines.append(f"It was fine-tuned from {_links(data.base_model)}.")
    if data.datasets:
        lines.append(f"It was trained on {_links(data.datasets, 'datasets/')}.")
    tokenizer = any((folder / file).is_file() for file in TOKENIZER)
    lines.append("")
    lines.append(usage(model["architecture"], place, code=model["code"], adapter=model["adapter"], tokenizer=tokenizer))
    config = model["config"]
    if config:
        width = f"{config.num_hidden_layers:,} × {config.hidden_size:,}"
        facts = [("cell", cell), ("layers × width", width), ("state size of a layer", config.state_size)]
        lines += ["", "## Model", "", *_table([*facts, ("vocabulary", config.vocab_size)])]
    training = _training(folder)
    if training:
        lines += ["", "## Training", "", *_table(training)]
    return "\n".join([*lines, "", "## Limits", "", LIMITS, ""])


__all__ = ["CELLS", "CardError", "card_data", "usage", "write_card"]
