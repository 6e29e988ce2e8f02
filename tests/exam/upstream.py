# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Downloads the model tests of the installed version of transformers with pip, and makes them importable.

This repository stores no code of transformers. Its source distribution lacks some folders that the model tests import
from. Small stand-ins replace them.
"""

import subprocess
import sys
import tarfile
import types
from pathlib import Path

import transformers

PACKAGE = "transformers_tests"
STAND_INS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    # ConfigTester only needs some arguments that every configuration takes.
    "utils/test_configuration_utils.py": "config_common_kwargs = {'return_dict': False, 'output_hidden_states': True, "
    "'dtype': 'float16', 'architectures': ['BertModel'], 'chunk_size_feed_forward': 5, 'id2label': {0: 'a', 1: 'b'}, "
    "'label2id': {'a': 0, 'b': 1}, 'problem_type': 'regression'}\n",
}


def fetch(cache: Path) -> list[Path]:
    """Returns the folders that together contain transformers' tests, from the cache or from the package index."""
    version = transformers.__version__
    folder = cache / f"transformers-{version}"
    if not (folder / "tests" / "test_modeling_common.py").exists():
        folder.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        download += ["--no-binary", ":all:", "-d", str(folder), f"transformers=={version}"]
        subprocess.run(download, check=True)
        with tarfile.open(next(folder.glob("transformers-*.tar.gz"))) as archive:
            root = f"transformers-{version}/"
            for member in archive.getmembers():
                if member.isfile() and member.name.startswith(root + "tests/"):
                    member.name = member.name.removeprefix(root)
                    archive.extract(member, folder, filter="data")
    (folder / "tests" / "__init__.py").touch()
    for name, text in STAND_INS.items():
        path = folder / "stand_ins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return [folder / "tests", folder / "stand_ins"]


def mount(folders: list[Path]):
    """Makes the folders importable as one package."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(folder) for folder in folders]
    sys.modules[PACKAGE] = package
