# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Cards of models fine-tuned with Trainer or PEFT: their text, their examples, and their metadata on the Hub."""

import contextlib
import importlib.util
import io
import json
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard
from support.hub_stand_in import WITH_PACKAGE_START, Hub
from support.model_cases import build
from transformers import AutoTokenizer, LlamaConfig

import hf_minrnn
from hf_minrnn import MinRNNConfig
from hf_minrnn.tools.card import TASKS, CardError, write_card
from hf_minrnn.tools.command import main
from training.lm.tokenization import build_tokenizer

PEFT = importlib.util.find_spec("peft") is not None
FINE_TUNING = (
    WITH_PACKAGE_START
    + """
import re
import torch
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
import hf_minrnn
from hf_minrnn.tools.command import main
from support.model_cases import token_ids

def card(folder, *options):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["card", folder, *options]) == 0
    found[folder] = out.getvalue()

def run_card(name):
    code = re.search(r"```python\\n(.*?)```", ModelCard.load(f"me/{name}").text, flags=re.DOTALL)[1]
    assert f'"me/{name}"' in code
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    found[f"{name} runs"] = out.getvalue()

assert main(["push", "base", "base"]) == 0
rows = [{"input_ids": row, "labels": row} for row in token_ids(4, 9)]

def trainer(folder, model, **options):
    args = TrainingArguments(folder, max_steps=2, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True, **options)
    tokenizer = AutoTokenizer.from_pretrained("me/base")
    made = Trainer(model, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
    made.train()
    made.save_model()
    return made

model = AutoModelForCausalLM.from_pretrained("me/base")
trainer("tuned", model, eval_strategy="steps", eval_steps=1).create_model_card(language="en")
card("tuned", "--license", "mit", "--dataset", "me/texts", "--dataset", "me/more")
assert main(["push", "tuned", "tuned"]) == 0
run_card("tuned")
trainer("plain", AutoModelForCausalLM.from_pretrained("base"))
card("plain", "--base-model", "me/base")
assert main(["push", "plain", "plain"]) == 0
run_card("plain")
if os.environ["PEFT"] == "True":
    import peft
    model = AutoModelForCausalLM.from_pretrained("me/base")
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["in_proj"], task_type="CAUSAL_LM"))
    trainer("lora", model)
    card("lora", "--license", "mit")
    HfApi().create_repo("me/lora")
    text = Path("lora/README.md").read_text().replace('name = "lora"', 'name = "me/lora"')
    Path("lora/README.md").write_text(text)
    HfApi().upload_folder(repo_id="me/lora", folder_path="lora", ignore_patterns=["checkpoint*", "*.bin"])
    run_card("lora")
(root / "found.json").write_text(json.dumps(found))
"""
)


def save(folder, model_class=None, **options):
    model = build("mingru", getattr(hf_minrnn, model_class or "MinRNNForCausalLM"), **options)
    model.save_pretrained(folder)
    build_tokenizer("chars", ["".join(map(chr, range(32, 127)))]).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def hub_and_output(tmp_path_factory):
    """Returns the Hub with a base model and models fine-tuned from it, whose cards the command wrote; and its output."""
    root = tmp_path_factory.mktemp("cards")
    save(root / "base")
    (root / "base" / "README.md").write_text("# A base model\n")
    with Hub() as hub:
        hub.run(FINE_TUNING, root, PEFT=str(PEFT))
    return hub, json.loads((root / "found.json").read_text())


def metadata(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_a_model_of_trainer_has_its_metadata_on_the_hub(hub_and_output):
    hub, found = hub_and_output
    text = hub.files("me/tuned")["README.md"].decode()
    assert metadata(text) == {
        "base_model": "me/base",  # from Trainer's own card
        "datasets": ["me/texts", "me/more"],
        "language": ["en"],
        "library_name": "transformers",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": ["minrnn", "mingru", "recurrent", "rnn", "custom_code"],  # the base model carries its code
    }
    assert found["tuned"] == "tuned/README.md: written\n" and len(found["tuned runs"]) > 4
    assert "fine-tuned from [me/base](https://huggingface.co/me/base)" in text
    assert "[me/texts](https://huggingface.co/datasets/me/texts)" in text
    assert "| steps | 2 |" in text and "| eval_loss | " in text and "runtime" not in text and "per_second" not in text
    assert 'trust_remote_code=True, revision="main"' in text and "pins the code" in text


def test_a_model_without_its_code_is_loaded_after_the_import(hub_and_output):
    hub, found = hub_and_output
    text = hub.files("me/plain")["README.md"].decode()
    assert metadata(text)["base_model"] == "me/base" and "custom_code" not in metadata(text)["tags"]
    assert "\nimport hf_minrnn  #" in text and len(found["plain runs"]) > 4
    assert "hub_minrnn.py" in hub.files("me/plain")  # push adds it, as the card says
    assert found["plain"] == "plain/README.md: written; if they apply, add --license, --dataset\n"


@pytest.mark.skipif(not PEFT, reason="peft is not installed")
def test_an_adapter_names_its_base_model(hub_and_output):
    hub, _ = hub_and_output
    text = hub.files("me/lora")["README.md"].decode()
    data = metadata(text)
    assert (data["base_model"], data["library_name"], data["license"]) == ("me/base", "peft", "mit")
    assert data["pipeline_tag"] == "text-generation" and {"adapter", "mingru"} <= set(data["tags"])
    assert "AutoPeftModelForCausalLM" in text and "| steps | 2 |" in text
    assert "if the repository of the base model contains the code" in text and "stored with the weights" not in text


@pytest.mark.parametrize("code", [False, True], ids=["plain", "code"])
@pytest.mark.parametrize("name", TASKS)
def test_the_example_of_every_head_runs(name, code, tmp_path, monkeypatch):
    model = save(tmp_path, name, **({} if name in ("MinRNNForCausalLM", "MinRNNModel") else {"num_labels": 3}))
    if code:
        model.carry_code()
        model.save_pretrained(tmp_path)
    text = write_card(tmp_path).read_text()
    assert ModelCard(text).data.pipeline_tag == TASKS[name][0]
    example = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    assert ("trust_remote_code" in example) == code != ("import hf_minrnn" in example)
    assert f'name = "{tmp_path.name}"  #' in example and str(tmp_path.parent) not in text  # no folder of this machine
    monkeypatch.chdir(tmp_path.parent)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(example, {})
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    assert "pipeline(" not in write_card(tmp_path).read_text()  # a pipeline needs a tokenizer


def test_the_adapter_of_a_folder_has_no_base_model_until_it_is_named(tmp_path):
    peft = pytest.importorskip("peft")
    save(tmp_path / "base", "MinRNNForSequenceClassification", num_labels=3)
    base = hf_minrnn.MinRNNForSequenceClassification.from_pretrained(tmp_path / "base")
    peft.get_peft_model(base, peft.LoraConfig(target_modules=["in_proj"], task_type="SEQ_CLS")).save_pretrained(
        tmp_path / "lora"
    )
    data = ModelCard.load(write_card(tmp_path / "lora")).data
    assert (data.base_model, data.pipeline_tag, "mingru" in data.tags) == (None, "text-classification", True)
    assert ModelCard.load(write_card(tmp_path / "lora", base_model="me/base")).data.base_model == "me/base"
    LlamaConfig().save_pretrained(tmp_path / "base")
    with pytest.raises(CardError, match=r"lora adapts .*, a model of type llama: give an adapter of a minGRU"):
        write_card(tmp_path / "lora")


def test_a_card_written_or_edited_by_hand_is_kept(tmp_path):
    save(tmp_path)
    path = write_card(tmp_path, license="mit", base_model="me/base", name="Mine")
    first = path.read_text()
    assert "# Mine\n" in first
    assert ModelCard.load(write_card(tmp_path)).data.license == "mit"  # the metadata of an unedited card is kept
    edited = re.sub("<!-- Written by.*-->", "It knows nothing.", first)
    for text in (edited, "# By hand\n", ""):
        path.write_text(text)
        with pytest.raises(CardError, match=r"was written or edited by hand: pass overwrite=True \(--overwrite\)"):
            write_card(tmp_path)
        assert path.read_text() == text
    assert "# By hand" not in write_card(tmp_path, overwrite=True).read_text()


@pytest.mark.parametrize("language", ["en", "gsw", "zh-CN", "sr-Latn-RS", "es-419", "code", "multilingual"])
def test_language_codes_of_the_hub(language, tmp_path):
    save(tmp_path)
    assert ModelCard.load(write_card(tmp_path, language=language)).data.language == language


def test_a_model_of_sft_trainer_gets_a_card(tmp_path):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    model = save(tmp_path / "base")
    args = trl.SFTConfig(
        output_dir=str(tmp_path / "tuned"),
        max_steps=1,
        save_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    rows = datasets.Dataset.from_dict({"input_ids": [[5, 6, 7, 8]] * 4})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    trainer = trl.SFTTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    path = tmp_path / "tuned" / "README.md"
    assert "[TRL](https://github.com/huggingface/trl)" in path.read_text()
    text = write_card(tmp_path / "tuned", license="mit").read_text()
    assert "## Quick start" not in text and "| steps | 1 |" in text
    assert metadata(text)["license"] == "mit" and "licence" not in metadata(text)


@pytest.mark.parametrize("template", ["lm_model_card.md", "rm_model_card.md"])
def test_unedited_cards_of_trl_are_replaced(template, tmp_path):
    pytest.importorskip("trl")
    from trl.trainer.utils import generate_model_card

    save(tmp_path)
    card = generate_model_card(
        base_model="me/base",
        model_name="tuned",
        hub_model_id="me/tuned",
        dataset_name="me/texts",
        tags=["trl"],
        wandb_url=None,
        trackio_url=None,
        trainer_name="SFT",
        template_file=template,
    )
    path = tmp_path / "README.md"
    edits = {
        "a section is added": lambda text: text + "\n## Limits\n\nIt knows nothing.\n",
        "a section is removed": lambda text: text.partition("## Citations")[0],
        "a sentence is added": lambda text: text.replace("\n## Quick start", "It knows nothing.\n\n## Quick start"),
        "the tag is removed": lambda text: text.replace("- generated_from_trainer\n", ""),
    }
    for edit in edits.values():
        path.write_text(edit(str(card)))
        with pytest.raises(CardError, match="was written or edited by hand"):
            write_card(tmp_path)
    path.write_text(str(card))
    data = ModelCard.load(write_card(tmp_path)).data
    assert (data.base_model, data.datasets) == ("me/base", "me/texts") and "trl" not in data.tags


def broken_state(folder):
    (folder / "checkpoint-3").mkdir()
    (folder / "checkpoint-3" / "trainer_state.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (shutil.rmtree, [], "does not exist: give the folder of a saved model"),
        (lambda f: (f / "config.json").unlink(), [], "has no config.json"),
        (lambda f: LlamaConfig().save_pretrained(f), [], "contains a model of type llama: give the folder of a minGRU"),
        (lambda f: (f / "config.json").write_text("{"), [], "config.json cannot be read"),
        (lambda f: MinRNNConfig().save_pretrained(f), [], "not one of this package"),
        (broken_state, [], "trainer_state.json cannot be read"),
        (lambda f: (f / "README.md").write_text("# Mine"), [], "was written or edited by hand: pass overwrite=True"),
        (
            lambda f: (f / "README.md").write_text("---\na: [\n---\n"),
            [],
            "repair it, or pass overwrite=True (--overwrite)",
        ),
        (lambda f: None, ["--license", "Apache 2.0"], "license must be an identifier such as apache-2.0"),
        (lambda f: None, ["--base-model", "a/b/c"], "base_model must be a name on the Hub"),
        (lambda f: None, ["--base-model", "."], "base_model must be a name on the Hub"),
        (lambda f: None, ["--dataset", "my texts"], "dataset must be a name on the Hub"),
        *(
            (lambda f: None, ["--language", text], "language must be a code")
            for text in ("English", "zh_CN", "en-", "e")
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(damage, options, message, tmp_path, capfd):
    folder = tmp_path / "model"
    save(folder)
    damage(folder)
    before = sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())
    capfd.readouterr()
    assert main(["card", str(folder), *options]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("hf-minrnn card: ") and message in err
    assert sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file()) == before
