# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Cards contain only what the result files say. If a value is missing, the error names it."""

import copy
import doctest
import json
import re
import shutil

import pytest
from huggingface_hub import ModelCard
from support.train_cases import QUICK

from training import evaluate, train_lm
from training.common.errors import InputError
from training.corpus.corpus import Corpus, Reading
from training.lm import run_facts
from training.lm.finish import OUTPUT_FILES
from training.lm.measure import replace_bits_per_byte, summary
from training.lm.options import parse_arguments
from training.report import cards

COMMITTED = [name for name in cards.NAMES if (cards.RESULTS / f"{name}.json").exists()]
# The card is shorter without these. Older results lack them, or the system does not report them.
OPTIONAL = {("data", "streaming"), ("data", "prompt"), ("samples",), ("kept",)}
# The description of the text of a run, and of the round trip of a tokenizer that keeps it.
OPTIONAL |= {
    ("data", name) for name in ("kind", "license", "documents_are", "named", "encoding", "files", "heldout_seen")
}
OPTIONAL |= {("data", "lossless"), ("dataset", "lossless"), ("data", "skipped"), ("base",)}
NULLABLE = OPTIONAL | {
    ("machine", "accelerator"),
    ("metrics", "reading_mib"),
    ("metrics", "worth_past_training_length_bits_per_byte"),
}


@pytest.fixture(scope="module")
def measured(finished_run, text_file):
    """Returns results.json and evaluation.json of a short run."""
    folder, _ = finished_run
    quick = ["--rounds", "2", "--seeds", "3", "--new-tokens", "5", "--longest", "128"]
    evaluation = evaluate.main([str(folder), "--dataset", text_file, *quick])
    yield json.loads((folder / "results.json").read_text()), evaluation
    (folder / "evaluation.json").unlink()


def committed_results(name="stdlib-minlstm"):
    return json.loads((cards.RESULTS / f"{name}.json").read_text())


# --- the committed cards


def test_there_is_a_card_for_each_committed_result_and_no_other():
    assert {path.stem for path in cards.CARDS.glob("*.md")} - {"template"} == set(COMMITTED)
    assert {"stdlib-mingru", "stdlib-minlstm"} <= set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_cards_come_from_the_committed_results(name):
    card = (cards.CARDS / f"{name}.md").read_bytes().decode()
    assert card == cards.committed(name), "run: python -m training.report.cards"


@pytest.mark.parametrize("name", COMMITTED)
def test_the_metadata_block_is_the_hubs(name):
    results = committed_results(name)
    data = ModelCard((cards.CARDS / f"{name}.md").read_text(encoding="utf-8")).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "text-generation", "apache-2.0")
    assert {"minrnn", results["args"]["cell_type"], "custom_code"} <= set(data.tags)
    assert data.model_name == name
    assert {result.task_type for result in data.eval_results} == {"text-generation"}
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "bits_per_byte": pytest.approx(results["metrics"]["heldout_bits_per_byte"], abs=1e-4),
        "perplexity": pytest.approx(results["metrics"]["heldout_perplexity"], abs=1e-4),
    }


@pytest.mark.parametrize(
    "path, value, shown",
    [
        (("metrics", "heldout_bits_per_byte"), 1.23456, ("| **minLSTM** | 1.235 |", "value: 1.2346")),
        (("metrics", "heldout_perplexity"), 98.7654321, ("| 98.77 |", "value: 98.7654")),
        (("metrics", "parameters"), 7654321, ("| parameters | 7,654,321 |", "It has 7,654,321 parameters")),
        (("metrics", "train_seconds"), 77.7, ("trained for 78 s",)),
        (("metrics", "steps"), 2266, ("2,266 steps",)),
        (("baselines", "gzip -9", "bits_per_byte"), 5.5555, ("| gzip -9 | 5.556 | |",)),
        (("parse_shares", "minLSTM"), 0.77, ("minLSTM 77%",)),
        (("data", "heldout_bytes"), 123_456, ("Held-out text: 123 kB",)),
        (("machine", "cpu"), "An abacus", ("| machine | An abacus, 2 of 2 cores",)),
        (("args", "seed"), 41, ("| seed | 41 |", "--seed 41")),
    ],
)
def test_a_changed_result_changes_the_card(path, value, shown, tmp_path, monkeypatch):
    results = committed_results()
    before = cards.render(results, "stdlib-minlstm")
    *parents, last = path
    record = results
    for key in parents:
        record = record[key]
    record[last] = value
    (tmp_path / "stdlib-minlstm.json").write_text(json.dumps(results))
    monkeypatch.setattr(cards, "RESULTS", tmp_path)
    monkeypatch.setattr(cards, "CARDS", tmp_path)
    assert cards.main([]) == [tmp_path / "stdlib-minlstm.md"]
    card = (tmp_path / "stdlib-minlstm.md").read_text(encoding="utf-8")
    assert card != before
    for text in shown:
        assert text in card and text not in before


# --- every number comes from the results


def sentinels(value):
    """Returns a copy in which every number, and every digit in a text, consists of fours."""
    if isinstance(value, dict):
        return {key if key.isidentifier() else sentinels(key): sentinels(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [sentinels(entry) for entry in value]
    if isinstance(value, str):
        return re.sub(r"\d", "4", value)
    if isinstance(value, bool) or value is None:
        return value
    return 4444444 if isinstance(value, int) else 4444444.444444


def numbers(text):
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def test_every_number_comes_from_the_results(measured):
    results, evaluation = (sentinels(result) for result in measured)
    results["data"]["train_tokens"] = 1  # so that the seen share of the text consists of fours, too
    card = cards.render(results, "pets", evaluation)
    constant = {"2410.01201", "2411.12537", "0", "1", "2.0", "60"}  # papers, [0, 1], Apache-2.0, max_new_tokens
    assert len(numbers(card) - constant) > 5
    assert [n for n in numbers(card) - constant if not re.fullmatch(r"[4.,]+|[4,]+\.0+", n)] == []
    assert "**minGRU** | 4444444.444 | 4444444.44 |" in card
    assert "4,444,444-4,444,444" not in card and "| 4,444,444 | 4444444.444 | 4444444.444 |" in card


def leaves(record, path=()):
    for key, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield *path, key


@pytest.mark.parametrize("source", ["run", "evaluation", "committed"])
def test_a_missing_value_is_named(source, measured):
    """For every removed value: either the card does not show it, or rendering fails and names it."""
    results, evaluation = copy.deepcopy(measured) if source != "committed" else (committed_results(), None)
    full = {key: value for key, value in results.items() if key not in ("curve", "evaluations")}
    if evaluation:
        evaluation |= {"positions": evaluation["positions"][:2], "model": evaluation["model"] | {"config": None}}
    target = evaluation if source == "evaluation" else full
    card = cards.render(full, "x", evaluation)
    # A missing argument is an option that did not exist yet. A missing parse share is one row less.
    paths = [path for path in leaves(target) if path[0] not in ("args", "parse_shares")] + [(key,) for key in target]
    used = set()
    for path in paths:
        for null in (False, True):
            if path in (NULLABLE if null else OPTIONAL):
                continue
            damaged = copy.deepcopy(target)
            record = damaged
            for key in path[:-1]:
                record = record[key]
            if null:
                record[path[-1]] = None
            else:
                del record[path[-1]]
            try:
                pair = (full, damaged) if source == "evaluation" else (damaged, evaluation)
                assert cards.render(pair[0], "x", pair[1]) == card, path
            except InputError as error:
                assert f"cannot render the card of x: the value {path[-1]!r} is" in str(error)
                used.add(path)
    expected = {
        "run": {("metrics", "heldout_perplexity"), ("data", "split"), ("versions", "torch"), ("weights_sha256",)},
        "evaluation": {
            ("metrics", "windows_perplexity"),
            ("dataset", "split"),
            ("window",),
            ("positions", 1, "perplexity"),
        },
        "committed": {("metrics", "snippets"), ("machine", "cores"), ("baselines", "5-gram", "bits_per_byte")},
    }
    assert expected[source] <= used and len(used) > 15


# --- the card of a run


def test_a_finished_run_has_a_card(finished_run, capsys, monkeypatch):
    folder, metrics = finished_run
    card = ModelCard.load(folder / "README.md")
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found["perplexity"] == pytest.approx(metrics["heldout_perplexity"], abs=1e-4)
    assert card.data.model_name == "pets" and card.data.datasets is None and card.data.language is None
    assert card.data.license is None and "Licence of the text" not in card.text and "--tokenizer bytes" in card.text
    assert "on `pets.txt`.\n" in card.text and "\n- Source: one text file.\n" in card.text
    (result,) = card.data.to_dict()["model-index"][0]["results"]
    assert result["dataset"]["type"] == "text" and result["dataset"]["name"] == "pets.txt"
    results = json.loads((folder / "results.json").read_text())
    samples = results["samples"]
    assert len(samples) == 1 and cards.fenced(samples[0]) in card.text
    (code,) = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert 'name = "pets"' in code  # without the folders around it
    monkeypatch.chdir(folder.parent)
    exec(code, {})
    assert capsys.readouterr().out.startswith(results["data"]["prompt"])


def card_of(results, argv, corpus, **changes):
    """The card of a run with other options on another text."""
    results = copy.deepcopy(results)
    args = parse_arguments([*argv, "--steps", "3"])
    results["args"] = run_facts.public_arguments(vars(args))
    results["data"] |= run_facts.data_facts(args, corpus) | changes
    return ModelCard(cards.render(results, "x"))


def test_a_dataset_of_the_hub_is_named_and_linked(measured):
    hub = Corpus("me-texts-small", "hub", [], [], "")
    argv = [
        "--dataset",
        "me/texts:small",
        "--dataset-license",
        "cc-by-4.0",
        "--license",
        "mit",
        "--text-column",
        "body",
    ]
    card = card_of(measured[0], argv, hub)
    assert card.data.datasets == ["me/texts"] and card.data.license == "mit"
    assert "on [me/texts](https://huggingface.co/datasets/me/texts), configuration `small`." in card.text
    assert "- Source: a dataset on the Hub. Each row, in its column `body`, is a document." in card.text
    assert (
        "Licence of the text: cc-by-4.0." in card.text and "The weights are offered under mit, as far as" in card.text
    )
    stream = card_of(measured[0], ["--dataset", "me/texts", "--streaming"], hub, streaming=True)
    assert stream.data.datasets == ["me/texts"] and "at the start, then the rest as a stream" in stream.text


def test_a_local_text_is_described_and_not_taken_for_a_dataset_of_the_hub(measured, tmp_path):
    reading = Reading(
        train=["a.txt", "b.txt"], heldout=["c.txt"], skipped={"binary": ["d.png", "e.pyc"], "empty": ["f.txt"]}
    )
    folder = Corpus("notes", "folder", [], [], "", reading)
    (tmp_path / "client" / "notes").mkdir(parents=True)
    card = card_of(measured[0], ["--dataset", str(tmp_path / "client" / "notes"), "--encoding", "cp1252"], folder)
    assert card.data.datasets is None and card.data.license is None and card.data.language is None
    assert "on `notes`.\n" in card.text and "client" not in card.content
    assert (
        "- Source: a folder of 3 files. Each file is a document. The encoding is cp1252. "
        "Not read: 2 files (binary), 1 file (empty).\n" in card.text
    )
    assert "No licence of the weights is stated." in card.text and "unknown" not in card.content
    table = Corpus("rows", "file", [], [], "", Reading(train=["rows.csv.gz"], heldout=["rows.csv.gz"]))
    assert "- Source: one table. Each row, in its column `text`, is a document." in card_of(measured[0], [], table).text
    lines = card_of(measured[0], ["--document-per-line"], Corpus("a", "file", [], [], "", Reading(["a.txt"])))
    assert "- Source: one text file. Each line is a document." in lines.text


def test_a_given_name_with_an_owner_is_that_of_a_dataset(measured, tmp_path):
    path = tmp_path / "plays.txt"
    path.write_text("a")
    plays = Corpus("plays", "file", [], [], "")
    card = card_of(measured[0], ["--dataset", str(path), "--dataset-name", "me/plays"], plays)
    assert card.data.datasets == ["me/plays"]
    assert "on [me/plays](" in card.text and "- Source: `plays.txt`, one text file." in card.text
    card = card_of(measured[0], ["--dataset", str(path), "--dataset-name", "All plays"], plays)
    assert card.data.datasets is None and " on All plays.\n" in card.text
    card = card_of(measured[0], ["--dataset", str(path), "--dataset-name", "karpathy/tiny_shakespeare"], plays)
    assert (card.data.datasets, card.data.language) == (["karpathy/tiny_shakespeare"], ["en"])
    assert "Licence of the text: public domain" in card.text


@pytest.mark.parametrize("name", ["stdlib", "stdlib.txt"])
def test_a_file_named_like_a_known_text_gets_none_of_its_facts(measured, tmp_path, name):
    path = tmp_path / name
    path.write_text("a")
    card = card_of(measured[0], ["--dataset", str(path)], Corpus("stdlib", "file", [], [], ""))
    assert card.data.language is None and "PSF" not in card.text and "Python's standard library" not in card.text
    card = card_of(measured[0], [], Corpus("stdlib", "stdlib", [], [], ""))
    assert card.data.language == ["code"] and "PSF-2.0" in card.text and card.data.license == "apache-2.0"


def test_a_lossy_tokenizer_gives_no_bits_per_byte(measured):
    results, evaluation = copy.deepcopy(measured)
    record = {"before": "Word", "after": "word", "pieces": 4, "pieces_changed": 3}
    for data in (results["data"], evaluation["dataset"]):
        data |= {"lossless": False, "round_trip": record}
    del results["metrics"]["heldout_bits_per_byte"]
    results["kept"]["heldout_bits_per_token_estimate"] = results["kept"].pop("heldout_bits_per_byte_estimate")
    results["baselines"] = {}
    replace_bits_per_byte(evaluation)
    card = ModelCard(cards.render(results, "x", evaluation))
    assert [result.metric_type for result in card.data.eval_results] == ["perplexity"]
    reason = "This tokenizer does not keep the text: `'Word'` becomes `'word'` (3 of 4 pieces of the"
    assert card.text.count(reason) == 1
    assert "As above, losses are per token only, because the tokenizer does not keep the text.\n" in card.text
    assert (
        "can.\n" not in card.text
        and "| bits per byte |" not in card.text
        and "gzip" not in card.text.partition("```bash")[0]
    )


def test_the_base_of_the_weights_is_named(measured):
    results = copy.deepcopy(measured[0]) | {"base": {"name": "me/base", "on_hub": True}}
    card = ModelCard(cards.render(results, "x"))
    assert (
        card.data.base_model == "me/base" and "start from [me/base](https://huggingface.co/me/base), not" in card.text
    )
    results |= {"base": {"name": "base", "on_hub": False}}
    results["data"] |= {"heldout_seen": 3, "heldout_copies": 1}
    card = ModelCard(cards.render(results, "x"))
    assert card.data.base_model is None and "start from the local model `base`, not" in card.text
    assert "- An earlier training of these weights read 3 held-out documents, in whole or in part, so" in card.text
    assert "\n- The training text contains exact copies of 1 held-out document, so" in card.text


def test_files_that_were_not_read_are_counted(measured):
    results = copy.deepcopy(measured[0])
    results["data"] |= {"kind": "folder", "files": 2, "skipped": {"documentation": 1, "binary": 1200}}
    text = ModelCard(cards.render(results, "x")).text
    assert "Not read: 1 file (documentation), 1,200 files (binary).\n" in text


def test_a_difference_that_rounds_to_zero_has_no_sign(measured):
    results, evaluation = copy.deepcopy(measured)
    evaluation["metrics"]["worth_past_training_length_bits_per_byte"] = -1e-9
    assert "saves 0.0000 bits per byte." in cards.render(results, "x", evaluation)
    assert "worth -0.0000" not in summary(evaluation)


def test_commands_and_example_name_the_same_folder(measured):
    results, evaluation = measured
    folder = results["args"]["output_dir"]
    card = cards.render(results, "pets", evaluation)
    assert f'\nname = "{folder}"  # the model' in card
    assert f"--output-dir {folder}\n" in card and f"python -m training.evaluate {folder} " in card
    assert "--output-dir" not in cards.render(results, "pets")


def test_an_evaluation_appears_only_on_the_card_of_its_weights(measured, tmp_path):
    results, evaluation = measured
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    cards.main([str(tmp_path)])
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    last = evaluation["positions"][-1]
    assert f"| {last['first']}-{last['last']} | {last['bits_per_byte']:.3f} |" in card
    assert f"{evaluation['metrics']['weights_bytes'] / 1e3:.3g} kB" in card and evaluation["command"] in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "evaluation.json", "results.json"]
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation | {"model": {"sha256": "0"}}))
    with pytest.raises(
        SystemExit, match=r"training.report.cards: cannot render .* other weights.*run training\.evaluate again"
    ):
        cards.main([str(tmp_path)])


def test_a_resumed_run_deletes_the_earlier_evaluation(measured, finished_run, text_file, tmp_path):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    assert (folder / "evaluation.json").exists()
    argv = [*QUICK, "--dataset", text_file, "--steps", "31", "--no-baselines", "--output-dir", str(folder), "--resume"]
    train_lm.main(argv)
    assert not (folder / "evaluation.json").exists() and not (folder / "evaluation.png").exists()
    assert "| training | 31 steps" in (folder / "README.md").read_text(encoding="utf-8")
    assert {"README.md", "evaluation.json", "evaluation.png"} <= set(OUTPUT_FILES)  # what --overwrite takes away


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "results.json does not exist: give the folder of a finished run"),
        ("{", "is not valid JSON"),
        ("{}", "'args' is missing"),
    ],
)
def test_folders_without_a_result_are_rejected(content, message, tmp_path):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(SystemExit, match=rf"^training.report.cards: .*{message}"):
        cards.main([str(tmp_path)])
    assert not (tmp_path / "README.md").exists()


def test_examples():
    found = doctest.testmod(cards)
    assert found.attempted and not found.failed
