# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The commands that a run prints at its end, or when it is stopped, work."""

import ast
import json
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest
from support.train_cases import QUICK, losses

from training import evaluate, train_lm
from training.common.checkpoint import load_checkpoint
from training.corpus.load import SHAKESPEARE
from training.lm.finish import next_steps
from training.lm.options import parse_arguments
from training.lm.run_facts import KNOWN
from training.lm.snippets import opening

FEW = [*QUICK, "--no-baselines", "--samples", "0"]


def parts(shown):
    """Extracts from the output of a run the command to measure it, the command to repeat it, and the program."""
    measure, again, program = re.search(
        r"evaluate it further:\n(.*)\n\ntrain it again, with the same number of steps:\n(.*)\n\n"
        r"generate text with it, in Python:\n((?:.*\n)*)",
        shown,
    ).groups()
    return shlex.split(measure), shlex.split(again), program


def prompt_of(program):
    return ast.literal_eval(re.search(r"\)\((.*)\)\[0\]", program)[1])


def run(words):
    """Runs a printed command as the shell would, but in this process. Returns what its main function returns."""
    assert words[:2] == ["python", "-m"]
    mains = {"training.train_lm": train_lm.main, "training.evaluate": evaluate.main}
    return mains[words[2]](words[3:])


@pytest.mark.parametrize("budget", [["--steps", "4"], ["--minutes", "0.01"]], ids=" ".join)
def test_the_printed_commands_and_program_work(text_file, tmp_path, monkeypatch, capsys, budget):
    shutil.copy(text_file, tmp_path / "my 'pets'.txt")
    monkeypatch.chdir(tmp_path)
    argv = [*FEW, "--dataset", "my 'pets'.txt", "--config", "tie_word_embeddings=false", "hidden_act=gelu", *budget]
    steps = train_lm.main(argv)["steps"]
    measure, again, program = parts(capsys.readouterr().out)
    folder, copy = measure[-1], again[-1]

    assert run(measure)["metrics"]["bits_per_byte"] > 0 and Path(folder, "evaluation.json").exists()

    assert f"--steps {steps} " in shlex.join(again) and "--minutes" not in again and not Path(copy).exists()
    assert run(again)["steps"] == steps and Path(copy, "results.json").exists()
    if "--steps" in budget:
        assert losses(copy) == losses(folder)
    assert parts(capsys.readouterr().out)[1][-1] not in (folder, copy)  # the new run has another folder

    exec(program, {})
    prompt = prompt_of(program)
    assert capsys.readouterr().out.startswith(prompt)
    assert len(prompt.split()) == 3 and prompt in Path(text_file).read_text()
    assert f"print(writer({json.dumps(prompt)}, " in Path(folder, "README.md").read_text()  # its card


def test_a_known_text_has_its_own_prompt(text_file, tmp_path, capsys):
    argv = [*FEW, "--dataset", text_file, "--dataset-name", SHAKESPEARE, "--steps", "1"]
    train_lm.main([*argv, "--output-dir", str(tmp_path / "run")])
    assert prompt_of(parts(capsys.readouterr().out)[2]) == KNOWN[SHAKESPEARE]["prompt"] == "ROMEO:"


def test_a_run_of_several_processes_is_repeated_by_the_same_number(tmp_path):
    args = parse_arguments(["--output-dir", str(tmp_path / "run"), "--minutes", "9"])
    _, again, _ = parts(next_steps(args, 7, 2, tmp_path / "run", 'it\'s\n"new"') + "\n")
    assert again[:3] == ["torchrun", "--nproc_per_node", "2"]
    assert again[5:] == ["--steps", "7", "--output-dir", str(tmp_path / "run-2")]


@pytest.mark.parametrize(
    ("documents", "prompt"),
    [
        (["tail of a line\nfirst\none two three four\n"], "one two three"),
        (["one short text"], "one short text"),
        (["first\n", "\n  an indented line\n"], "an indented line"),
        (["一" * 100], "一" * 24),
        ([" \n"], ""),
    ],
)
def test_a_prompt_is_the_beginning_of_a_line(documents, prompt):
    assert opening(documents) == prompt


@pytest.mark.parametrize("start", [[], ["--overwrite"]], ids=["new", "overwrite"])
def test_a_stopped_run_continues_with_the_command_that_it_prints(text_file, tmp_path, monkeypatch, capsys, start):
    argv = [*FEW, "--dataset", text_file, "--steps", "6", "--output-dir", str(tmp_path), *start]
    step = train_lm.Trainer.step

    def stopped(self, rate):
        if self.state.step == 3:
            signal.raise_signal(signal.SIGTERM)
        return step(self, rate)

    with monkeypatch.context() as patches:
        patches.setattr(train_lm.Trainer, "step", stopped)
        with pytest.raises(SystemExit):
            train_lm.main(argv)
    added, removed = re.search(
        r"the same command and (--\w+)(?: in place of (--\w+))?\n", capsys.readouterr().out
    ).groups()
    assert train_lm.main([*(word for word in argv if word != removed), added])["steps"] == 6


def test_resuming_is_not_suggested_without_a_checkpoint(text_file, tmp_path):
    (tmp_path / "notes").write_text("mine")
    argv = [*FEW, "--dataset", text_file, "--steps", "1", "--output-dir", str(tmp_path)]
    with pytest.raises(SystemExit) as rejected:
        train_lm.main(argv)
    assert "--overwrite" in str(rejected.value) and "--resume" not in str(rejected.value)
    train_lm.main([*argv, "--overwrite"])
    assert load_checkpoint(tmp_path)["state"]["step"] == 1
    with pytest.raises(
        SystemExit, match="continue the run with --resume, replace it with --overwrite, or change --output-dir"
    ):
        train_lm.main(argv)
