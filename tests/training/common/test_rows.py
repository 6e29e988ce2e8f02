# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import filelock
import pytest
import torch

from training.common.comparators import Size, build
from training.common.errors import InputError
from training.common.rows import Results, can_run, command, contest, parse, parser
from training.common.widths import count
from training.paper import recall

PRESETS = {
    "full": {
        "models": ["mingru"],
        "seeds": [0, 1],
        "rates": [1e-3],
        "steps": 100,
        "batch_size": 8,
        "every": 10,
        "length": 9,
    },
    "small": {"steps": 5, "rates": [1e-2, 3e-2]},
}


def read(*arguments):
    made = parser("training.test", "A test.", ["mingru", "gru"], PRESETS)
    made.add_argument("--length", type=int)
    return made, parse(made, list(arguments), "test")


def test_presets_fill_in_what_is_not_given():
    _, options = read()
    assert (options.preset, options.steps, options.rates, options.output.name) == ("full", 100, [1e-3], "test.json")
    _, options = read("--small", "--steps", "7")
    assert (options.steps, options.rates, options.length, options.seeds) == (7, [1e-2, 3e-2], 9, [0, 1])
    assert options.output.name == "test_small.json" and options.device in ("cpu", "cuda")
    threads = torch.get_num_threads()
    read("--threads", "2")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_a_rows_command_runs_that_row_alone(tmp_path):
    made, options = read("--small", "--steps", "7", "--output", str(tmp_path / "x.json"), "--threads", "1", "--bf16")
    line = command(options, made, models="gru", rates=1e-2, seeds=3)
    assert line == "python -m training.test --small --models gru --seeds 3 --rates 0.01 --steps 7 --bf16"
    _, again = read(*line.split()[3:])
    assert (again.models, again.seeds, again.rates, again.steps, again.bf16) == (["gru"], [3], [1e-2], 7, True)
    made, options = read()
    assert command(options, made, seeds=0) == "python -m training.test --seeds 0"
    made.set_defaults(bf16=True)
    options.bf16 = False
    assert command(options, made) == "python -m training.test --no-bf16"


def test_of_a_path_only_the_last_part_is_told(tmp_path):
    made = parser("training.test", "A test.", ["mingru"], PRESETS)
    made.add_argument("--text", type=type(tmp_path))
    options = parse(made, ["--text", str(tmp_path / "plays.txt")], "test")
    assert command(options, made) == "python -m training.test --text plays.txt"


def test_rows_are_written_at_once_and_run_once(tmp_path, capsys):
    path, calls = tmp_path / "new" / "rows.json", []

    def work():
        calls.append(1)
        return {"accuracy": 0.5}

    results = Results(path, {"experiment": "x"})
    first = results.row("a", {"rate": 1e-3, "lengths": (1, 2)}, "python a", work)
    assert json.loads(path.read_text())["rows"]["a"] == first
    assert (
        first["accuracy"] == 0.5 and first["command"] == "python a" and first["versions"]["torch"] and first["machine"]
    )
    results = Results(path, {"experiment": "y"})
    assert results.row("a", {"rate": 1e-3, "lengths": [1, 2]}, "python b", work) == first and len(calls) == 1
    results.row("b", {"rate": 1e-2}, "python b", work)
    written = json.loads(path.read_text())
    assert list(written["rows"]) == ["a", "b"] and written["experiment"] == "y"
    assert "a: in rows.json already" in capsys.readouterr().out
    other = Results(path, {"experiment": "y"})  # of a second process, which makes rows of its own
    results.row("c", {}, "python c", work)
    other.row("d", {}, "python d", work)
    assert other.row("c", {}, "python c", work)["command"] == "python c" and len(calls) == 4
    assert list(json.loads(path.read_text())["rows"]) == ["a", "b", "c", "d"] == list(other.value["rows"])
    with pytest.raises(InputError, match=r"has the row 'a' with rate 0.001, not 0.1: give another --output"):
        results.row("a", {"rate": 0.1, "lengths": [1, 2]}, "python a", work)


@pytest.mark.parametrize(("metric", "chosen"), [("accuracy", 3e-2), ("loss", 1e-2)])
def test_the_best_rate_gets_the_other_seeds(metric, chosen):
    ran = []

    def run(rate, seed):
        ran.append((rate, seed))
        return {"settings": {"rate": rate, "seed": seed}, "best": {metric: rate} if rate < 1 else None}

    rows = contest("x", [1e-2, 3e-2, 1.0], [5, 6, 7], metric, run)
    assert ran == [(1e-2, 5), (3e-2, 5), (1.0, 5), (chosen, 6), (chosen, 7)]
    assert [(row["settings"]["rate"], row["settings"]["seed"]) for row in rows] == [
        (chosen, 5),
        (chosen, 6),
        (chosen, 7),
    ]
    ran.clear()
    assert len(contest("x", [1.0, 2.0], [5, 6], metric, run)) == 1 and len(ran) == 2


def test_what_cannot_run_is_said(capsys):
    size = Size(vocab_size=16, hidden_size=8, num_layers=1, max_length=32)
    models = ["mingru", "hgrn", "gru"]
    assert can_run(models, "cpu", size, count(build("mingru", **vars(size))), ("mingru",)) == ["mingru", "gru"]
    assert capsys.readouterr().out == "hgrn is left out: flash-linear-attention runs on a GPU only\n"
    assert can_run(models, "cpu", size, 1, ("mingru",)) == ["mingru"]  # gru has more at a width of one
    assert "gru is left out: a width of 1 has" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps: must be a whole number above 0, got '0'"),
        (["--every", "0"], "--every: must be a whole number above 0"),
        (["--rates", "nan"], "--rates: must be finite"),
        (["--rates", "0.1", "-1"], "--rates: must be above 0, got -1"),
        (["--seeds", "-1"], "--seeds: must be a whole number, 0 or more"),
        (["--seeds", "0", "0"], "--seeds: the same twice in 0 0"),
        (["--pairs", "0"], "--pairs: must be a whole number above 0"),
        (["--threads", "0"], "--threads: must be a whole number above 0"),
        (["--device", "foo"], "--device: foo cannot be used here"),
        (["--output", "results.txt"], "--output: results.txt is not the name of a JSON file"),
        (["--output", "{file}/x.json"], "--output: the folder {file} cannot be created"),
        (["--runs", "{file}/runs"], "--runs: the folder {file}/runs cannot be created"),
        (["--cpu"], "--cpu: not allowed with argument --small"),
    ],
)
def test_values_that_do_not_fit_are_refused_before_any_work(options, message, tmp_path, capsys):
    file = tmp_path / "file"  # where a folder would have to be
    file.write_text("")
    with pytest.raises(SystemExit):
        recall.main(["--small", *(option.format(file=file) for option in options)])
    assert message.format(file=file) in capsys.readouterr().err


def test_a_folder_that_is_read_only_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.common.command_line.os.access", lambda *_: False)
    with pytest.raises(SystemExit):
        recall.main(["--small", "--output", str(tmp_path / "x.json")])
    assert "x.json cannot be written, its folder is read-only: choose another" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{", '{"rows": 3}', "{}"])
def test_a_file_of_something_else_is_refused(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(
        SystemExit, match=r"x\.json is no result file of an experiment, or damaged .*: give another --output"
    ):
        recall.main(["--small", "--output", str(tmp_path / "x.json"), "--runs", str(tmp_path / "runs")])


def test_a_row_in_training_is_left_to_who_trains_it(tmp_path, capsys):
    quick = ["--small", "--models", "mingru", "--pairs", "2", "--expansions", "1", "--steps", "2", "--every", "1"]
    quick += ["--batch-size", "2", "--hidden-size", "8"]
    argv = [*quick, "--batches", "1", "--output", str(tmp_path / "x.json"), "--runs", str(tmp_path / "runs")]
    key = "mingru, 8 channels, 2 pairs, rate 0.003, seed 0"
    folder = tmp_path / "runs" / "x" / key.replace(", ", "-").replace(" ", "-")
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / "lock"), pytest.raises(SystemExit) as stop:
        recall.main(argv)
    assert str(stop.value).startswith(
        f"training.paper.recall: another process is training {key}, in {folder}: let it end"
    )
    assert list(recall.main(argv)["rows"]) == [key]
    with pytest.raises(
        SystemExit, match=r"training.paper.recall: .* has the row .* with steps 2, not 3: give another --output"
    ):
        recall.main([*argv, "--steps", "3"])
