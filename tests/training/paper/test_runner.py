# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import filelock
import pytest
import torch

from training.common.comparators import Size, build
from training.common.widths import count
from training.paper import recall
from training.paper.runner import Experiment, Group, can_run, command, parse, parser, reference_parameters

PRESETS = {
    "full": {
        "models": ["mingru"],
        "seeds": [0, 1],
        "rates": [1e-3],
        "steps": 100,
        "batch_size": 8,
        "every": 10,
        "warmup": 0,
        "length": 9,
    },
    "small": {"steps": 5, "rates": [1e-2, 3e-2]},
}


def read(*arguments):
    made = parser("training.test", "A test.", ["mingru", "gru"], PRESETS)
    made.add_argument("--length", type=int)
    return made, parse(made, list(arguments), "test")


def test_presets_fill_in_missing_options():
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


def test_a_command_has_only_the_last_part_of_a_path(tmp_path):
    made = parser("training.test", "A test.", ["mingru"], PRESETS)
    made.add_argument("--text", type=type(tmp_path))
    options = parse(made, ["--text", str(tmp_path / "plays.txt")], "test")
    assert command(options, made) == "python -m training.test --text plays.txt"


def scripted(scores, rates, metric, monkeypatch):
    """Returns the rows of an experiment with given scores by learning rate, `None` for a row that diverged, and what it ran."""
    made, ran = parser("training.test", "A test.", ["mingru"], PRESETS), []
    experiment = Experiment(made, ["--rates", *map(str, rates), "--seeds", "5", "6", "7"], "test", "A test")
    group = Group("x", "mingru", None, None, None, {"lengths": (1, 1), "metric": metric}, None, None)

    def row(self, group, rate, seed):
        ran.append((rate, seed))
        best = None if scores[rate] is None else {metric: scores[rate]}
        return {"settings": {"rate": rate, "seed": seed}, "best": best}

    monkeypatch.setattr(Experiment, "_row", row)
    return experiment.run(group), ran


@pytest.mark.parametrize(("metric", "chosen"), [("accuracy", 3e-2), ("loss", 1e-2)])
def test_the_best_rate_gets_the_other_seeds(metric, chosen, monkeypatch, capsys):
    rates = [1e-2, 3e-2, 1.0]
    rows, ran = scripted({1e-2: 0.1, 3e-2: 0.3, 1.0: None}, rates, metric, monkeypatch)
    assert ran == [(1e-2, 5), (3e-2, 5), (1.0, 5), (chosen, 6), (chosen, 7)]
    assert [(row["settings"]["rate"], row["settings"]["seed"]) for row in rows] == [
        (chosen, 5),
        (chosen, 6),
        (chosen, 7),
    ]
    assert f"x: the best learning rate is {chosen:g}" in capsys.readouterr().out


def test_a_group_that_diverges_at_every_rate_has_its_first_row(monkeypatch, capsys):
    rows, ran = scripted({1.0: None, 2.0: None}, [1.0, 2.0], "loss", monkeypatch)
    assert [row["settings"]["rate"] for row in rows] == [1.0] and len(ran) == 2
    assert (
        "x: diverged before the first evaluation with each of the learning rates [1.0, 2.0]" in capsys.readouterr().out
    )


def test_the_size_takes_the_options_that_it_knows():
    full = PRESETS["full"] | {"hidden_size": 8, "num_layers": 2, "conv": 4}
    experiment = Experiment(parser("training.test", "A test.", ["mingru"], {"full": full}), [], "test", "A test")
    size = experiment.size(16, 32, num_layers=3)
    assert size == Size(vocab_size=16, hidden_size=8, num_layers=3, max_length=32, conv=4)
    assert reference_parameters(size) == count(build("mingru", **vars(size)))


def test_models_that_cannot_run_are_reported(capsys):
    size = Size(vocab_size=16, hidden_size=8, num_layers=1, max_length=32)
    models = ["mingru", "hgrn", "gru"]
    assert can_run(models, "cpu", size, count(build("mingru", **vars(size))), ("mingru",)) == ["mingru", "gru"]
    assert capsys.readouterr().out == "hgrn is left out: flash-linear-attention runs on a GPU only\n"
    assert can_run(models, "cpu", size, 1, ("mingru",)) == ["mingru"]  # even a gru of width one has more parameters
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
def test_bad_values_are_rejected_before_any_work(options, message, tmp_path, capsys):
    file = tmp_path / "file"  # a file instead of a folder
    file.write_text("")
    with pytest.raises(SystemExit):
        recall.main(["--small", *(option.format(file=file) for option in options)])
    assert message.format(file=file) in capsys.readouterr().err


def test_a_read_only_folder_is_rejected_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.common.command_line.os.access", lambda *_: False)
    with pytest.raises(SystemExit):
        recall.main(["--small", "--output", str(tmp_path / "x.json")])
    assert "x.json cannot be written, its folder is read-only: choose another" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{", '{"rows": 3}', "{}"])
def test_a_file_that_is_not_a_result_file_is_rejected(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(
        SystemExit, match=r"x\.json is no result file of an experiment, or damaged .*: give another --output"
    ):
        recall.main(["--small", "--output", str(tmp_path / "x.json"), "--runs", str(tmp_path / "runs")])


def test_a_row_that_another_process_trains_is_rejected(tmp_path, capsys):
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
