# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Commands from before `training` was a package are rewritten, and nothing else is."""

import doctest
import importlib.util

from training.report import rename_commands


def test_examples():
    found = doctest.testmod(rename_commands)
    assert found.attempted and not found.failed


def test_every_command_leads_to_a_module():
    for module in rename_commands.MODULES.values():
        assert importlib.util.find_spec(f"training.{module}") is not None, module


def test_committed_files_are_rewritten():
    for path in rename_commands.committed_files():
        text = path.read_text(encoding="utf-8")
        assert rename_commands.rename(text) == text, path


def test_only_commands_and_paths_of_a_file_change(tmp_path, capsys):
    path = tmp_path / "results.json"
    before = '{"command": "python training/%s.py --seeds 0 1", "value": 0.10, "text": "%s.py training/other.py"}\n'
    path.write_bytes((before % ("recall", "recall")).encode())
    assert rename_commands.main([str(path)]) == [path]
    after = '{"command": "python -m training.paper.recall --seeds 0 1", "value": 0.10, "text": "recall.py training/other.py"}\n'
    assert path.read_bytes() == after.encode()
    assert rename_commands.main([str(path)]) == []
