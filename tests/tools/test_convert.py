# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Detection of the kind of a checkpoint, and the folder that is written."""

import stat

import pytest
import torch
from support.checkpoint_cases import minlm, paper

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.convert import Options, convert, read_model


def test_the_names_decide_the_kind(tmp_path):
    torch.save(minlm("minlstm", 2, 1.5, 3, 4), tmp_path / "minlm.pt")
    torch.save(paper("minlstm", 2, 1.5, 3, 4), tmp_path / "paper.pt")
    assert not read_model(tmp_path / "minlm.pt").config.use_bias
    assert not read_model(tmp_path / "minlm.pt", Options()).taken
    assert read_model(tmp_path / "paper.pt").config.use_bias
    with pytest.raises(ValueError, match=r"minlm\.pt: options are only for the paper's layers"):
        read_model(tmp_path / "minlm.pt", Options(forget_bias=3.0))


def test_a_file_of_neither_kind_is_rejected_with_the_missing_tensors_of_both(tmp_path):
    torch.save({"transformer.wte.weight": torch.ones(4, 2), "lm_head.weight": torch.ones(4, 2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError) as rejected:
        convert(tmp_path / "other.pt", tmp_path / "folder")
    minlm_lacks, paper_lacks = str(rejected.value).split("; and ")
    assert "minLM: missing token_emb.weight, " in minlm_lacks and "unexpected transformer.wte.weight" in minlm_lacks
    assert "paper's layers: missing embedding.weight, layers.0.norm.weight, layers.0.gates.weight, " in paper_lacks
    assert "left over transformer.wte.weight (4, 2); " in paper_lacks and "--name" in paper_lacks
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


def test_an_existing_folder_must_be_empty(tmp_path):
    torch.save(minlm("mingru", 1, 1.0, 0, 4), tmp_path / "minlm.pt")
    folder = tmp_path / "folder"
    folder.mkdir()
    convert(tmp_path / "minlm.pt", folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for target in (folder, tmp_path / "minlm.pt"):
        with pytest.raises(FileExistsError, match="is not an empty folder"):
            convert(tmp_path / "minlm.pt", target)
    assert files == {path.name: path.read_bytes() for path in folder.iterdir()}
    plain = tmp_path / "plain"
    plain.mkdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_failed_write_leaves_no_files(tmp_path, monkeypatch):
    def fail(self, folder):
        (folder / "half").write_text("written")
        raise OSError("the disk is full")

    torch.save(minlm("mingru", 1, 1.0, 0, 4), tmp_path / "minlm.pt")
    monkeypatch.setattr(MinRNNForCausalLM, "save_pretrained", fail)
    with pytest.raises(OSError, match="the disk is full"):
        convert(tmp_path / "minlm.pt", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["minlm.pt"]
