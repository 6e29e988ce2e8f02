# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tiny models that the tests share: both cells, both blocks, and configs between the two blocks."""

import torch

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM

SMALL = {"vocab_size": 97, "hidden_size": 24, "num_hidden_layers": 3, "pad_token_id": 0, "eos_token_id": 1}
CONFIGS = {
    "mingru": MinRNNConfig(**SMALL),
    "minlstm": MinRNNConfig(cell_type="minlstm", **SMALL),
    "mingru-paper": MinRNNConfig.paper("mingru", expand_ratio=1.5, **SMALL),
    "minlstm-paper": MinRNNConfig.paper("minlstm", normalize_gates=False, learn_initial_state=True, **SMALL),
    "minlstm-mixer": MinRNNConfig(
        cell_type="minlstm", conv_position="mixer", forget_gate_floor=[-1.0, 0.45, 0.9], **SMALL
    ),
    "no-conv": MinRNNConfig(
        expand_ratio=1.0, conv_kernel_size=0, learn_initial_state=True, forget_gate_floor=[-0.5, -1.0, 0.9], **SMALL
    ),
    "bare": MinRNNConfig(
        conv_kernel_size=2,
        conv_position="mixer",
        conv_bias=False,
        intermediate_size=0,
        expand_ratio=1.0,
        output_projection=False,
        output_gate=False,
        state_norm=False,
        use_bias=False,
        tie_word_embeddings=False,
        **SMALL,
    ),
}


def build(name: str, model_class=MinRNNForCausalLM, **changes):
    """Returns a model with random weights only. The zeros and identities of a fresh model would hide errors."""
    torch.manual_seed(0)
    # forget_gate_floor_depth would fix the number of blocks.
    fields = CONFIGS[name].to_dict() | {"forget_gate_floor_depth": None} | changes
    if "num_labels" in changes:  # the names of the labels imply another number
        fields = {key: value for key, value in fields.items() if key not in ("id2label", "label2id")}
    model = model_class(MinRNNConfig.from_dict(fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def token_ids(batch: int, time: int, seed: int = 0) -> torch.Tensor:
    """Returns random ids `(batch, time)`, without the special tokens."""
    return torch.randint(2, SMALL["vocab_size"], (batch, time), generator=torch.Generator().manual_seed(seed))


def close(x, y, tolerance=1e-5):
    """Whether the difference is within the tolerance, relative to the largest absolute value of y (at least 1)."""
    return (x - y).abs().max() <= tolerance * y.abs().max().clamp(min=1.0)


def pad(ids, places, time):
    """Returns `(padded, mask)` with `time` columns. `places` lists for each row the columns that its ids go to."""
    padded = torch.full((len(ids), time), 5)
    mask = torch.zeros(len(ids), time, dtype=torch.long)
    for row, place in enumerate(places):
        padded[row, place] = ids[row, : len(place)]
        mask[row, place] = 1
    return padded, mask


PLACES = {
    "left": [list(range(6, 17)), list(range(17)), [16]],
    "right": [list(range(11)), list(range(17)), [0]],
    "mixed": [list(range(3, 14)), [0, 2, 3, 5, 8, 9, 16], list(range(17))],
}
