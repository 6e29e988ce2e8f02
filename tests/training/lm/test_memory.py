# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Peak memory of a run: a constant, measured with a small text, plus at most ten times the size of the text."""

import json
import random
import subprocess
import sys

import pytest

from training.common.paths import ROOT

pytestmark = pytest.mark.slow

MIB = 1 << 20
SIZE = 10 * MIB
PROGRAM = """
import resource, sys
from training.train_lm import main
main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
OPTIONS = (
    "--hidden-size 8 --num-hidden-layers 1 --sequence-length 64 --batch-size 2 --steps 2 --samples 0 --no-baselines"
)


def varied_text(size):
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20000)]
    lines = []
    while size > 0:
        lines.append(" ".join(rng.choices(words, k=rng.randint(3, 14))) + "\n")
        size -= len(lines[-1])
    return "".join(lines)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    text = varied_text(SIZE)
    (folder / "small.txt").write_text(text[:MIB])
    (folder / "one.txt").write_text(text)
    (folder / "emoji.txt").write_text(f"{text[: SIZE // 2]}🎉{text[SIZE // 2 :]}")
    (folder / "many").mkdir()
    for number in range(19):
        (folder / "many" / f"{number:02d}.txt").write_text(text[number * SIZE // 19 : (number + 1) * SIZE // 19])
    with open(folder / "rows.jsonl", "w") as file:
        for number in range(SIZE // 16):
            file.write(json.dumps({"text": text[3 * number : 3 * number + 3].replace("\n", "x")}) + "\n")
    return folder


def peak(source, kind, folder, *options):
    command = [sys.executable, "-c", PROGRAM, "--dataset", str(source), "--tokenizer", kind, *OPTIONS.split(), *options]
    run = subprocess.run(
        [*command, "--output-dir", str(folder / "run"), "--peak-tflops", "1"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout.split("peak ")[-1])


@pytest.fixture(scope="module")
def constants(sources, tmp_path_factory):
    """Peak memory with a text of 1 MiB, for each kind of tokenizer."""
    return {
        kind: peak(sources / "small.txt", kind, tmp_path_factory.mktemp(kind)) for kind in ("bytes", "bpe", "chars")
    }


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("one.txt", "bytes"),
        ("one.txt", "bpe"),
        ("one.txt", "chars"),
        ("emoji.txt", "bytes"),
        ("emoji.txt", "chars"),
        ("many", "bytes"),
        ("rows.jsonl", "bytes"),
        ("rows.jsonl", "bpe"),
    ],
)
def test_ten_times_the_text(source, kind, sources, constants, tmp_path):
    found = peak(sources / source, kind, tmp_path)
    print(f"{source} {kind}: {found / MIB:.0f} MiB, {(found - constants[kind]) / SIZE:.1f} times the text more")
    assert found <= constants[kind] + 10 * SIZE


@pytest.mark.parametrize("source", ["one.txt", "rows.jsonl"])
def test_a_stream_takes_no_more_for_a_larger_text(source, sources, constants, tmp_path):
    assert peak(sources / source, "bytes", tmp_path, "--streaming") <= constants["bytes"] + 3 * SIZE
