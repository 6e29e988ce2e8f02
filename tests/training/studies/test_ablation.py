# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import doctest
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch

from hf_minrnn import MinRNNConfig
from training.common.errors import InputError
from training.common.paths import RESULTS
from training.report import ablation_report
from training.studies import ablation, ablation_results, ablation_variants
from training.studies.ablation_variants import (
    ALL,
    DEFAULT,
    DEFAULT_OPTIONS,
    FINALISTS,
    OPTIONS,
    PAPER,
    SPREAD,
    TOLERANCE,
    VARIANTS,
    baseline_of,
    fit,
    make_config,
    make_model,
    parameters_of,
)

TINY = ["--steps", "3", "--batch-size", "2", "--sequence-length", "16", "--hidden-size", "16", "--layers", "2"]


def command(text_file, path, *more):
    return ["shakespeare", "--text", text_file, *TINY, "--output", str(path), *more]


# --- the variants


@pytest.mark.parametrize("vocabulary", [66, 257, 2048], ids=["chars", "bytes", "bpe"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_the_papers_parameters(name, vocabulary):
    wanted = parameters_of(MinRNNConfig.paper(vocab_size=vocabulary, hidden_size=128, num_hidden_layers=4))
    config, parameters = fit(VARIANTS[name], vocabulary, 128, 4)
    assert parameters == parameters_of(config) and abs(parameters / wanted - 1) < TOLERANCE
    assert abs(parameters - wanted) <= 4 * 3 * 128  # about half of what one more unit of the widest MLP adds


def test_the_first_and_last_variants_are_the_papers_block_and_the_default():
    size = {"vocab_size": 65, "hidden_size": 128, "num_hidden_layers": 4}
    paper = MinRNNConfig.paper(**size).to_dict()
    assert fit((), 65, 128, 4)[0].to_dict() == paper
    default = make_config(VARIANTS[DEFAULT], *size.values(), 192).to_dict()
    assert default == MinRNNConfig(**size, tie_word_embeddings=False).to_dict()
    # Each option is needed: none has the paper's value already.
    for name in DEFAULT_OPTIONS:
        changed = make_config((name,), *size.values(), 512).to_dict()
        assert {key for key in paper if changed[key] != paper[key]} == set(DEFAULT_OPTIONS[name])


def test_one_option_at_a_time_and_all_together():
    for name, options in VARIANTS.items():
        if baseline := baseline_of(name):
            difference = set(options) ^ set(VARIANTS[baseline])
            assert len(difference) == (2 if name == ALL else 1)
    assert set(VARIANTS[ALL]) == set(OPTIONS) and len(VARIANTS) == 25
    assert [*FINALISTS] == [PAPER, DEFAULT, *(f"default - {name}" for name in DEFAULT_OPTIONS)]


def test_a_variant_that_cannot_be_matched_is_rejected(monkeypatch):
    monkeypatch.setattr(ablation_variants, "TOLERANCE", 1e-6)
    with pytest.raises(InputError, match=r"expansion 2 has \d+ parameters .* take a larger hidden size than 8"):
        fit(VARIANTS["paper + expansion 2"], 9, 8, 3)


@pytest.mark.parametrize("cell_type", ["mingru", "minlstm"])
def test_spread_biases_are_memories_of_2_to_the_windows_length(cell_type):
    config = MinRNNConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=2, cell_type=cell_type, normalize_gates=cell_type == "mingru"
    )
    plain, spread = (make_model(config, options, 0, 256) for options in ((), (SPREAD,)))
    for before, after in zip(plain.model.layers, spread.model.layers):
        one, other = before.mixer.cell.in_proj.bias, after.mixer.cell.in_proj.bias
        decay = torch.sigmoid(-other[:16] if cell_type == "mingru" else other[:16])
        assert torch.allclose(1 / (1 - decay), torch.logspace(math.log10(2), math.log10(256), 16), rtol=1e-3)
        assert torch.equal(one[16:], other[16:]) and torch.equal(
            before.mixer.cell.in_proj.weight, after.mixer.cell.in_proj.weight
        )


# --- the data


def test_the_two_halves_contain_the_whole_text():
    for documents in (["abc"], ["a", "bc", "d"], ["abcd", "e"], ["a", "b"]):
        first, second = ablation.halves(documents)
        assert "".join(first + second) == "".join(documents) and all(first + second)
        assert len("".join(first)) == len("".join(documents)) // 2


# --- the runs


@pytest.fixture(scope="module")
def finished(text_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("ablation") / "ablation_shakespeare.json"
    return path, ablation.main(command(text_file, path, "--rates", "1e-3", "1e-2"))


def test_both_stages_are_in_the_result_file(finished):
    path, results = finished
    assert json.loads(path.read_text(encoding="utf-8")) == results
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    sweep = [f"{name}, rate {rate}, seed 0" for name in FINALISTS for rate in ("0.001", "0.01")]
    assert list(results["runs"])[: len(sweep)] == sweep and len(results["runs"]) == len(sweep) + 2 * len(FINALISTS)
    best = ablation_results.best_rates(results)
    for row in list(results["runs"].values())[len(sweep) :]:
        assert row["rate"] == best[row["variant"]]["rate"] and row["seed"] in (1, 2)
    assert "--text pets.txt" in results["command"]
    rows = results["runs"].values()
    assert len({row["test_bits_per_byte"] for row in rows}) == len(
        rows
    )  # each variant, rate and seed gives another result
    for row in rows:
        assert row["steps"] == 3 and row["tokens"] == 3 * 2 * 16 and not row["diverged"]
        assert 0 < row["test_bits_per_byte"] < 8 and row["machine"]["cpu"] and row["versions"]["torch"]


def test_finished_runs_are_not_repeated(finished, text_file, tmp_path, monkeypatch):
    path, results = finished
    copy = tmp_path / path.name
    thinner = {key: row for key, row in results["runs"].items() if key != "default, rate 0.01, seed 0"}
    copy.write_text(json.dumps(results | {"runs": thinner}))
    made = []
    real = ablation.measure_run
    monkeypatch.setattr(ablation, "measure_run", lambda run, *rest: made.append(run.key) or real(run, *rest))
    again = ablation.main(command(text_file, copy, "--rates", "1e-3", "1e-2"))
    assert made == ["default, rate 0.01, seed 0"]
    bits = "test_bits_per_byte"
    assert again["runs"][made[0]][bits] == results["runs"][made[0]][bits]  # the repeated run gives the same result
    assert set(again["runs"]) == set(results["runs"])


@pytest.mark.parametrize("corpus", ["bpe", "shakespeare"])
def test_the_committed_files_are_complete(corpus, text_file, tmp_path, monkeypatch):
    committed, path = RESULTS / f"ablation_{corpus}.json", tmp_path / f"ablation_{corpus}.json"
    shutil.copy(committed, path)
    text = ablation.load_text("shakespeare", text_file, 300)
    digest = json.loads(committed.read_text())["settings"]["text"]
    monkeypatch.setattr(ablation, "load_text", lambda *_: text)
    monkeypatch.setattr(ablation.Text, "digest", digest)
    monkeypatch.setattr(ablation, "measure_run", lambda *_: pytest.fail("a run was made twice"))
    monkeypatch.setattr(ablation, "fit", lambda *_: None)  # the text of this test has another vocabulary
    words = ["--text", text_file] if corpus == "shakespeare" else []
    assert ablation.main([corpus, *words, "--output", str(path)]) == json.loads(committed.read_text())
    assert path.read_bytes() == committed.read_bytes()


def test_runs_that_another_process_wrote_are_kept(text_file, tmp_path, monkeypatch):
    path, measure, argv = tmp_path / "a.json", ablation.measure_run, ["--rates", "1e-2", "--seeds", "0", "--only"]

    def meanwhile(run, *rest):
        monkeypatch.setattr(ablation, "measure_run", measure)
        ablation.main(command(text_file, path, *argv, "default"))
        return measure(run, *rest)

    monkeypatch.setattr(ablation, "measure_run", meanwhile)
    both = {"paper, rate 0.01, seed 0", "default, rate 0.01, seed 0"}
    assert set(ablation.main(command(text_file, path, *argv, "paper"))["runs"]) == both
    assert set(json.loads(path.read_text())["runs"]) == both


def test_a_run_can_be_limited_by_time_and_by_name(text_file, tmp_path, capsys):
    path = tmp_path / "a.json"
    few = ("--rates", "1e-2", "--seeds", "3", "--minutes", "1e-9")
    results = ablation.main(command(text_file, path, *few))
    assert list(results["runs"]) == ["paper, rate 0.01, seed 3"]
    assert "minutes are over, at least 7 runs are left" in capsys.readouterr().out
    results = ablation.main(command(text_file, path, *few, "--only", "default - state norm"))
    assert list(results["runs"])[1:] == ["default - state norm, rate 0.01, seed 3"]
    with pytest.raises(SystemExit):
        ablation.parse_arguments(["bytes", "--only", "state norm"])  # --only needs the whole name
    with pytest.raises(SystemExit, match="holds runs with steps 3, asked for is 4: choose another --output"):
        ablation.main([*command(text_file, path), "--seeds", "3", "--steps", "4"])
    other = tmp_path / "other.txt"
    other.write_text(Path(text_file).read_text()[::-1])
    with pytest.raises(SystemExit, match=r"holds runs with text [0-9a-f]{64}, asked for is "):
        ablation.main([*command(str(other), path), "--seeds", "3"])
    older = json.loads(path.read_text())
    older["settings"].pop("text")  # as in files from before the text was stored
    path.write_text(json.dumps(older))
    assert list(ablation.main(command(text_file, path, *few))["runs"])[:2] == list(results["runs"])


def test_rates_are_tried_until_the_best_has_others_on_both_sides():
    options = ablation.parse_arguments(["bytes", "--only", "default", "--seeds", "0", "1"])
    quality, results = {1.25e-3: 3, 2.5e-3: 2, 5e-3: 3, 1e-2: 4, 2e-2: 5}, {"settings": {"sweep_seed": 0}, "runs": {}}

    def train(better=lambda rate: quality[rate]):
        made = []
        while todo := ablation.missing(results, options):
            (run, *_), score = todo, better(todo[0].rate)
            row = {"variant": run.variant, "rate": run.rate, "seed": run.seed, "validation_bits_per_byte": score}
            results["runs"][run.key] = row | {"diverged": score is None}
            made.append((run.rate, run.seed))
        return made

    assert train() == [(2.5e-3, 0), (5e-3, 0), (1e-2, 0), (1.25e-3, 0), (2.5e-3, 1)]
    results["runs"].clear()  # higher rates are better until they diverge
    assert train(lambda rate: 1 / rate if rate < 4e-2 else None)[3:] == [(2e-2, 0), (4e-2, 0), (2e-2, 1)]
    options.rates = [1e-2]  # a given rate is the only one tried
    results["runs"].clear()
    assert train() == [(1e-2, 0), (1e-2, 1)]


def test_the_plan_writes_nothing(text_file, tmp_path, capsys):
    path = tmp_path / "a.json"
    ablation.main(command(text_file, path, "--plan", "--all-variants"))
    out = capsys.readouterr().out
    assert re.search(r"^shakespeare: \d+ s a run on 1 thread\(s\), measured now$", out, re.MULTILINE)
    runs = 3 * len(VARIANTS)
    assert f"sweep: {runs} runs, {runs} left, " in out and "seeds: at most 18 runs, 18 left" in out
    assert not path.exists()


def test_a_run_that_diverges_is_kept_and_not_chosen(finished, text_file):
    _, results = finished
    options = ablation.parse_arguments(command(text_file, "unused.json"))
    text = ablation.load_text("shakespeare", text_file, 300)
    row = ablation.measure_run(ablation.Run(PAPER, 1e30, 0), text, options)
    assert row["diverged"] and row["test_bits_per_byte"] is None and row["steps"] < 4
    runs = results["runs"] | {"worse": row}
    assert ablation_results.best_rates(results | {"runs": runs}) == ablation_results.best_rates(results)
    assert "Diverged: paper at 1e+30." in ablation_report.table({"shakespeare": results | {"runs": runs}})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["shakespeare"], "shakespeare needs --text FILE"),
        (["bytes", "--text", "a.txt"], "bytes takes no --text FILE"),
        (["shakespeare", "--text", "nowhere.txt"], "nowhere.txt' does not exist: give the path"),
    ],
)
def test_bad_input_is_reported_in_one_line(argv, message, tmp_path):
    with pytest.raises(SystemExit, match=f"^training.studies.ablation: .*{message}"):
        ablation.main([*argv, "--output", str(tmp_path / "a.json")])


def test_a_short_text_is_rejected(text_file, tmp_path):
    with pytest.raises(SystemExit, match="is too short for --sequence-length 100000: give a longer one"):
        ablation.main([*command(text_file, tmp_path / "a.json"), "--sequence-length", "100000"])


def test_bad_numbers_are_rejected(capsys):
    for options, message in (
        (["--steps", "0"], "--steps: must be a whole number above 0"),
        (["--rates", "0"], "--rates: must be above 0"),
    ):
        with pytest.raises(SystemExit):
            ablation.parse_arguments(["bytes", *options])
        assert message in capsys.readouterr().err


# --- the table


def results_of(*rows) -> dict:
    """Returns a result file with the runs `(variant, rate, seed, validation, test)`."""
    machine = {"cpu": "Abacus", "threads": 1, "cores": 2, "vector_instructions": "none"}
    names = ("variant", "rate", "seed", "validation_bits_per_byte", "test_bits_per_byte")
    rest = {"diverged": False, "seconds": 360.0, "parameters": 10, "finished": "now", "machine": machine}
    rest["versions"] = {"python": "3", "torch": "2", "transformers": "5"}
    sizes = {
        "steps": 7,
        "batch_size": 8,
        "sequence_length": 16,
        "layers": 2,
        "hidden_size": 4,
        "sweep_seed": 0,
        "corpus": "bytes",
    }
    runs = {str(row): dict(zip(names, row)) | rest for row in rows}
    return {"command": "python x.py", "settings": sizes, "runs": runs}


def test_the_table_compares_the_same_seeds_at_the_best_rates():
    results = results_of(
        ("paper", 0.1, 0, 2.5, 2.0),
        ("paper", 0.2, 0, 2.4, 2.2),  # chosen by the validation half, although worse on the other
        ("paper", 0.2, 1, 2.4, 2.6),
        ("paper", 0.4, 0, 2.6, 2.1),
        ("default", 0.2, 0, 2.0, 1.98),
        ("default", 0.1, 0, 2.1, 1.0),
        ("default", 0.2, 1, 2.0, 2.34),
        ("paper + state norm", 0.2, 0, 2.0, 2.42),
    )
    lines = ablation_report.table({"bytes": results}).splitlines()
    assert lines[0] == "| block | bytes: bits per byte | change | rate |"
    assert lines[2:5] == [
        "| **paper** | 2.400 ± 0.283 |  | 0.2 |",
        "| paper + state norm | 2.420 | +10.0% | 0.2* |",  # compared with 2.2, the paper variant with the same seed
        "| **default** | 2.160 ± 0.255 | -10.0% | 0.2* |",
    ]
    assert "8 runs, each 7 steps of 8 × 16 tokens" in lines[-1] and "0.8 h in total. Diverged: none." in lines[-1]


def test_every_corpus_has_a_table(tmp_path):
    one = results_of(("paper", 0.1, 0, 2.5, 2.0), ("paper + output gate", 0.1, 0, 2.5, 1.9))
    two = results_of(("paper", 0.1, 0, 2.5, 3.0), ("default", 0.1, 0, 2.5, 2.9))
    text = ablation_report.table({"bytes": one, "bpe": two})
    first, second = text.split("| block | bpe: bits per byte |")
    assert "| paper + output gate | 1.900 | -5.0% | 0.1* |" in first and "output gate" not in second
    assert "| **default** | 2.900 | -3.3% | 0.1* |" in second and "default" not in first
    ablation.draw(one, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize("module", [ablation, ablation_results, ablation_variants], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
