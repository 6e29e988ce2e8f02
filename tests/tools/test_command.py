# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the command hf-minrnn prints, where, and the status it exits with."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.command import main

ROOT = Path(__file__).parent.parent.parent


def save_minlm(path):
    """The smallest state dict of minGRU-pytorch's minLM."""
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


@pytest.mark.parametrize("content", [None, b"", b"text\nand more", {"a": torch.ones(1)}, {"a": 1}], ids=repr)
def test_what_is_refused_is_one_line_and_status_2(content, tmp_path, capfd):
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


def test_without_arguments_it_says_how_it_is_used(capsys):
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
    # The last line: an optional package that transformers imports may have said something of its own before.
    assert second.returncode == 2 and "Traceback" not in second.stderr
    assert second.stderr.splitlines()[-1].startswith("hf-minrnn convert: ") and "not an empty folder" in second.stderr
