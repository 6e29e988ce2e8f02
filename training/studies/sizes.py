# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures the parameters and the memory of language models of 20, 100 and 300 million parameters.

    python -m training.studies.sizes            # some minutes and 12 GB; writes training/results/sizes.json

The memory is what one training step adds to a fresh process: weights, gradients and AdamW's state in float32, and the
activations of one row of 512 tokens. It is measured with and without gradient checkpointing.
"""

from __future__ import annotations

import argparse

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.command_line import make_parser, positive_int, reported, result_file
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import in_new_process, peak_memory, settings
from training.common.widths import count

MODULE = "training.studies.sizes"
TOKENS = 512
# By name: vocabulary, width and number of layers.
SIZES = {
    "20 M": (16_384, 384, 8),
    "100 M": (32_768, 768, 10),
    "300 M": (32_768, 1024, 20),
}
TUNED_WIDTH, TUNED_RATE = 128, 1e-2  # the default model of train_lm, whose learning rate was chosen by experiment


def make_config(vocab_size: int, width: int, layers: int) -> MinRNNConfig:
    """Returns the configuration of a model with the default block."""
    return MinRNNConfig(vocab_size=vocab_size, hidden_size=width, num_hidden_layers=layers)


def learning_rate(width: int) -> float:
    """Returns the tuned learning rate of width 128, scaled by 128 / width.

    >>> round(learning_rate(384), 4)
    0.0033
    """
    return TUNED_RATE * TUNED_WIDTH / width


def training_step(config: MinRNNConfig, checkpointing: bool) -> None:
    """Creates a model and makes one AdamW step on one row of random tokens."""
    model = MinRNNForCausalLM(config)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(config.vocab_size, (1, TOKENS))
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    optimizer.step()


def memory_of(name: str, checkpointing: bool) -> float:
    """Returns the MiB that a training step of a model of `SIZES` adds to this process, which should be fresh."""
    training_step(make_config(256, 64, 1), checkpointing)  # loads and compiles code
    config = make_config(*SIZES[name])
    return peak_memory(lambda: training_step(config, checkpointing))


def measure(name: str) -> dict:
    """Returns the row of one size: parameters, and memory in MiB (empty on systems without /proc)."""
    config = make_config(*SIZES[name])
    with torch.device("meta"):
        model = MinRNNForCausalLM(config)
    memory = {}
    for mode in ("plain", "checkpointing"):
        found = in_new_process(MODULE, ["--memory-of", name, mode])
        if found is not None:
            memory[mode] = found
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "intermediate_size": config.intermediate_size,
        "parameters": count(model),
        "learning_rate": learning_rate(config.hidden_size),
        "memory_mib": memory,
    }


@reported
def main(argv: list[str] | None = None) -> dict:
    """Measures every size and writes the result file; returns what it wrote."""
    parser = make_parser(MODULE, __doc__)
    parser.add_argument(
        "--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="sizes to measure (default: all)"
    )
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch")
    parser.add_argument("--output", type=result_file, default=RESULTS / "sizes.json", help="result file")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    with settings(args.threads):
        if args.memory_of:
            name, mode = args.memory_of
            memory = memory_of(name, mode == "checkpointing")
            print(memory)
            return {"memory_mib": memory}
        result = {**provenance(MODULE, argv), "tokens": TOKENS, "sizes": {}}
        for name in args.sizes:
            row = measure(name)
            result["sizes"][name] = row
            print(f"{name}: {row['parameters']:,} parameters, MiB {row['memory_mib']}", flush=True)
    write_json(args.output, result)
    print(f"wrote {args.output}")
    return result


if __name__ == "__main__":
    main()
