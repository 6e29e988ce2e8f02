# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""lm-eval with its three kinds of requests. The results agree with the logits of the model.

The Python API of lm-eval runs with this package, its command in a process without it.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from support.model_cases import build
from support.without_package import WITHOUT_PACKAGE

from hf_minrnn import MinRNNForCausalLM
from training.lm.tokenization import SEPARATOR, build_tokenizer

pytest.importorskip("lm_eval")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

LIMIT = 2048  # lm-eval's default for configs without a limit: it cuts texts to this length and rejects longer choices
LINES = "".join(f"def f{n}(x):\n    return x + {n}\n\n" for n in range(110))
ROWS = [
    {"context": "def add(a, b):", "choices": ["\n    return a + b", LINES], "label": 0, "text": LINES},
    {"context": "for x in", "choices": [" y:\n    print(x)\n", " f():"], "label": 1, "text": "x = 1\n" * 9},
]
STEPS = 12
TASKS = {
    "choose": """
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
target_delimiter: ""
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
""",
    "perplexity": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}]
""",
    "write": """
output_type: generate_until
doc_to_text: "{{context}}"
doc_to_target: "{{text}}"
generation_kwargs: {until: [%(stop)s], max_gen_toks: %(steps)s, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
}
SOURCE = """
dataset_path: json
dataset_kwargs: {data_files: {test: %(rows)s}, cache_dir: %(cache)s}
test_split: test
"""

# The command in a process that cannot import the package.
COMMAND = (
    WITHOUT_PACKAGE
    + """
from lm_eval.__main__ import cli_evaluate

cli_evaluate()
"""
)


def written(model, tokenizer, context):
    ids = tokenizer(context, return_tensors="pt").input_ids
    return tokenizer.decode(model.generate(ids, max_new_tokens=STEPS, do_sample=False)[0, ids.shape[1] :])


def log_likelihood(model, tokenizer, context, text):
    """Returns the log likelihood of `text` by the logits of the model, and whether greedy decoding writes `text`."""
    before = tokenizer(context).input_ids or [tokenizer.bos_token_id]
    ids = torch.tensor([before + tokenizer(text).input_ids])
    with torch.no_grad():
        scores = model(ids).logits[0, len(before) - 1 : -1].log_softmax(-1)
    wanted = ids[0, len(before) :, None]
    return scores.gather(1, wanted).sum().item(), bool((scores.argmax(-1, keepdim=True) == wanted).all())


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """Returns a folder with a model, its tokenizer and tasks; the model, the tokenizer, and the stop string."""
    root = tmp_path_factory.mktemp("lm-eval")
    texts = [row["context"] + row["text"] + "".join(row["choices"]) for row in ROWS]
    tokenizer = build_tokenizer("chars", texts)
    model = build("mingru", vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=0, eos_token_id=0)
    model.carry_code()
    model.save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    text = written(model, tokenizer, ROWS[0]["context"])
    stop = next(character for character in text[3:] if character not in text[:3])
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (root / "tasks").mkdir()
    values = {"rows": root / "rows.jsonl", "cache": root / "cache", "stop": json.dumps(stop), "steps": STEPS}
    for name, task in TASKS.items():
        (root / "tasks" / f"{name}.yaml").write_text(f"task: {name}\n" + (SOURCE + task) % values)
    return root, MinRNNForCausalLM.from_pretrained(root / "model").eval(), tokenizer, stop


def evaluate(root):
    found = simple_evaluate(
        model=HFLM(pretrained=str(root / "model"), device="cpu", batch_size=2, dtype="float32"),
        tasks=list(TASKS),
        task_manager=TaskManager(include_path=str(root / "tasks"), include_defaults=False),
        bootstrap_iters=0,
    )
    return found["results"], responses(found["samples"])


def responses(samples):
    """Returns the answers of the model by task, in the order of the rows."""
    return {
        name: [[answer[0] for answer in row["resps"]] for row in sorted(rows, key=lambda row: row["doc_id"])]
        for name, rows in samples.items()
    }


@pytest.fixture(scope="module")
def by_api(evaluation):
    return evaluate(evaluation[0])


def test_choices_have_the_log_likelihoods_of_the_logits(evaluation, by_api):
    _, model, tokenizer, _ = evaluation
    likelihoods = []
    for row, found in zip(ROWS, by_api[1]["choose"], strict=True):
        wanted = [log_likelihood(model, tokenizer, row["context"], choice) for choice in row["choices"]]
        likelihoods.append([value for value, _ in wanted])
        for (value, greedy), (wanted_value, wanted_greedy) in zip(found, wanted, strict=True):
            assert value == pytest.approx(wanted_value, rel=1e-4) and greedy == wanted_greedy
    right = [max(range(2), key=values.__getitem__) == row["label"] for row, values in zip(ROWS, likelihoods)]
    assert by_api[0]["choose"]["acc,none"] == sum(right) / 2


def test_a_rolling_log_likelihood_covers_the_whole_text(evaluation, by_api):
    _, model, tokenizer, _ = evaluation
    wanted = [log_likelihood(model, tokenizer, "", row["text"])[0] for row in ROWS]
    assert [value for (value,) in by_api[1]["perplexity"]] == pytest.approx(wanted, rel=1e-4)
    assert len(tokenizer(LINES).input_ids) > LIMIT
    assert HFLM(pretrained=model, tokenizer=tokenizer).max_length == model.config.max_position_embeddings
    requests = [Instance("loglikelihood_rolling", row, (row["text"],), 0) for row in ROWS]
    cut = HFLM(pretrained=model, tokenizer=tokenizer, max_length=16).loglikelihood_rolling(requests)
    assert all(value != pytest.approx(one, rel=1e-4) for value, one in zip(cut, wanted, strict=True))


def test_generation_ends_at_a_stop_string(evaluation, by_api):
    _, model, tokenizer, stop = evaluation
    for row, (found,) in zip(ROWS, by_api[1]["write"], strict=True):
        wanted = written(model, tokenizer, row["context"])
        assert found == wanted.split(SEPARATOR)[0].split(stop)[0]
    assert 0 < len(by_api[1]["write"][0][0]) < STEPS


@pytest.mark.slow
def test_the_command_with_remote_code_gives_the_same_results(evaluation, by_api):
    root = evaluation[0]
    arguments = [
        *("run", "--model", "hf", "--model_args", f"pretrained={root / 'model'},dtype=float32,trust_remote_code=True"),
        *("--tasks", ",".join(TASKS), "--include_path", str(root / "tasks"), "--device", "cpu", "--batch_size", "2"),
        *("--output_path", str(root / "out"), "--log_samples"),
    ]
    environment = {**os.environ, "HF_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-c", COMMAND, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr[-5000:]
    (written_results,) = (root / "out").rglob("results_*.json")
    found = json.loads(written_results.read_text())["results"]
    samples = {}
    for name in TASKS:
        (file,) = (root / "out").rglob(f"samples_{name}_*.jsonl")
        samples[name] = [json.loads(line) for line in file.read_text().splitlines()]
    as_json = json.loads(json.dumps(responses(samples)))
    wanted = json.loads(json.dumps(by_api[1]))
    assert as_json["write"] == wanted["write"]
    for name in ("choose", "perplexity"):
        assert flat(as_json[name]) == pytest.approx(flat(wanted[name]), rel=1e-6)
    for name, metric in {"choose": "acc,none", "perplexity": "bits_per_byte,none", "write": "exact_match,none"}.items():
        assert found[name][metric] == pytest.approx(by_api[0][name][metric], rel=1e-6)


def flat(answers):
    """Returns the numbers of nested lists. Some numbers of a sample file are text."""
    if isinstance(answers, list):
        return [number for answer in answers for number in flat(answer)]
    return [float({"True": 1, "False": 0}.get(answers, answers))]
