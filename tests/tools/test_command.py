# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Output and exit status of the command hf-minrnn."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from support.checkpoint_cases import paper

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.command import main
from hf_minrnn.tools.convert_paper import describe

ROOT = Path(__file__).parent.parent.parent


def save_minlm(path):
    """Saves the smallest state dict of minGRU-pytorch's minLM."""
    shapes = {"token_emb": (5, 4), "layers.0.1": (4,), "layers.0.2.to_hidden_and_gate": (8, 4), "layers.0.3": (4,)}
    shapes |= {"layers.0.4.0": (6, 4), "layers.0.4.2": (4, 6), "norm": (4,), "to_logits": (5, 4)}
    tensors = {f"{name}.weight": torch.ones(shape) for name, shape in shapes.items()}
    torch.save(tensors | {"layers.0.4.0.bias": torch.ones(6), "layers.0.4.2.bias": torch.ones(4)}, path)


def test_convert_prints_one_line(tmp_path, capfd):
    save_minlm(tmp_path / "minlm.pt")
    assert main(["convert", str(tmp_path / "minlm.pt"), str(tmp_path / "folder")]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"{tmp_path / 'folder'}: mingru, layers 1, hidden size 4, state size 4, vocabulary 5\n"
    assert captured.err == ""
    assert MinRNNForCausalLM.from_pretrained(tmp_path / "folder").config.intermediate_size == 6


def test_options_of_the_paper_s_layers(tmp_path, capfd):
    tensors = renamed_paper()
    torch.save(tensors, tmp_path / "paper.bin")
    arguments = ["convert", str(tmp_path / "paper.bin"), str(tmp_path / "folder"), "--name", "gates=inner.linear"]
    arguments += ["--name", "embedding=tokens", "--order", "candidate,forget, input", "--no-normalize-gates"]
    arguments += ["--candidate", "identity", "--forget-bias", "3", "--initial-state", "-1", "--norm-eps", "1e-5"]
    assert main([*arguments, "--activation", "relu"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out == (
        f"{tmp_path / 'folder'}: minlstm, layers 2, hidden size 8, state size 12, vocabulary 13; used: gates in the order "
        "candidate, forget, input; not normalized; forget bias +3 added to stored ones of mean 0.50; candidate identity; "
        "initial state -1; activation relu; RMSNorm with eps 1e-05\n"
    )
    model = MinRNNForCausalLM.from_pretrained(tmp_path / "folder")
    config = model.config
    assert (config.normalize_gates, config.candidate_activation, config.hidden_act) == (False, "identity", "relu")
    cell = model.model.layers[1].mixer.cell.in_proj
    assert (
        cell.bias[:12].tolist() == [3.5] * 12
    )  # the forget gate is the first block in one model and the second in the other
    assert torch.equal(cell.weight, tensors["layers.1.inner.linear.weight"].roll(-12, 0))
    assert model.model.layers[0].mixer.initial_state.tolist() == [-1] * 12


def renamed_paper():
    tensors = {name.replace("rnn.gates", "inner.linear"): v for name, v in paper("minlstm", 2, 1.5, 0, 4).items()}
    for n in range(2):
        tensors[f"layers.{n}.inner.linear.bias"].chunk(3)[1].fill_(0.5)
    return {name.replace("embedding", "tokens"): value for name, value in tensors.items()}


@pytest.mark.parametrize("argument", ["gates", "gates=", "=gates"])
def test_a_name_needs_both_sides(argument, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["convert", "file", "folder", "--name", argument])
    assert exit.value.code == 2 and f"must be PART=NAME, got {argument!r}" in capsys.readouterr().err


def test_help_describes_the_accepted_layout(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["convert", "--help"])
    assert exit.value.code == 0 and describe() in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"", b"text\nand more", {"a": torch.ones(1)}, {"a": 1}], ids=repr)
def test_an_error_is_one_line_and_status_2(content, tmp_path, capfd):
    path = tmp_path / "minlm.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    before = list(tmp_path.iterdir())
    assert main(["convert", str(path), str(tmp_path / "folder")]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hf-minrnn convert: ") and captured.err.count("\n") == 1
    assert str(path) in captured.err
    assert list(tmp_path.iterdir()) == before


def test_without_arguments_the_usage_is_printed(capsys):
    with pytest.raises(SystemExit) as exit:
        main([])
    assert exit.value.code == 2 and "usage: hf-minrnn" in capsys.readouterr().err


def test_python_m_and_the_script_are_this_command(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"hf-minrnn": "hf_minrnn.tools.command:main"}
    save_minlm(tmp_path / "minlm.pt")
    command = [sys.executable, "-m", "hf_minrnn", "convert", str(tmp_path / "minlm.pt"), str(tmp_path / "folder")]
    first, second = (subprocess.run(command, capture_output=True, text=True, cwd=ROOT) for _ in range(2))
    assert first.returncode == 0 and first.stdout.count("\n") == 1, first.stderr
    # Optional packages that transformers imports may print lines before the last one.
    assert second.returncode == 2 and "Traceback" not in second.stderr
    assert second.stderr.splitlines()[-1].startswith("hf-minrnn convert: ") and "not an empty folder" in second.stderr
