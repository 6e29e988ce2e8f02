# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reading files of tensors. Damaged files, files with code and files without a state dict are rejected."""

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoint_cases import Code, minlm, paper

from hf_minrnn.tools.convert import convert

KINDS = {"minlm": minlm("mingru", 3, 1.5, 0, 4), "paper": paper("minlstm", 3, 1.5)}
kinds = pytest.mark.parametrize("tensors", KINDS.values(), ids=KINDS)


@kinds
@pytest.mark.parametrize("name", ["some.pt", "some.safetensors"])
@pytest.mark.parametrize("keep", [0, 9, 0.5, 0.99])
def test_truncated_files_are_rejected(tensors, name, keep, tmp_path):
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=f"{name} is damaged, or contains more than tensors"):
        convert(path, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("sums", [True, False], ids=["checksums", "no-checksums"])
def test_the_checksums_of_an_archive_are_verified(sums, tmp_path):
    path, tensors = tmp_path / "some.pt", KINDS["minlm"]
    torch.serialization.set_crc32_options(sums)
    try:
        torch.save(tensors, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert convert(path, tmp_path / "whole").num_hidden_layers == 3
    written = tensors["to_logits.weight"].numpy().tobytes()
    content = path.read_bytes()
    assert content.count(written) == 1
    path.write_bytes(content.replace(written, bytes(len(written))))  # as after an incomplete download
    if sums:
        with pytest.raises(ValueError, match=r"some\.pt is damaged, .*wrong checksum of some/data/\d+\)"):
            convert(path, tmp_path / "folder")
    else:
        convert(path, tmp_path / "folder")  # without the check, nothing shows the damage


@kinds
def test_code_in_a_file_is_rejected_and_not_run(tensors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(tensors | {"more": Code()}, "some.pt")
    with pytest.raises(ValueError, match=r"contains more than tensors \(UnpicklingError: .*mkdir"):
        convert("some.pt", "folder")
    torch.save(torch.nn.Linear(2, 2), "some.pt")
    with pytest.raises(ValueError, match=r"contains more than tensors \(UnpicklingError: .*Linear"):
        convert("some.pt", "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["some.pt"]


@pytest.mark.parametrize("content", [3, [], {}, {"model": {}}, {"model": 3}, {"epoch": 3}, {"state_dict": {1: 2}}])
def test_files_without_a_state_dict_are_rejected(content, tmp_path):
    torch.save(content, tmp_path / "some.pt")
    with pytest.raises(ValueError, match="contains no state dict"):
        convert(tmp_path / "some.pt", tmp_path / "folder")
