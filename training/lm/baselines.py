# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Baselines for a language model on the held-out text: gzip, xz, xz that has read the training text, and a 5-gram.

All are in bits per byte of the held-out documents. The compressors read the documents joined end to end. The 5-gram reads the
same tokens as the language model, and both pay for the separators.
"""

from __future__ import annotations

import gzip
import lzma
import time
from collections.abc import Callable, Sequence

import numpy as np

from training.lm.ngram import NGramModel
from training.lm.tokenization import TokenStream

XZ_EXTREME_BELOW = 32 << 20  # bytes; above this, `xz -9e` would take minutes
XZ_FAST_PRESET = 3
# The limits keep the memory of the baselines, besides the text, at about 1.5 GB, however large the text is.
XZ_TEXT_LIMIT = 56 << 20  # bytes of the training text for xz
XZ_WINDOW_LIMIT = 64 << 20  # bytes; xz takes about ten times as much memory
NGRAM_TOKEN_LIMIT = 16_000_000  # of the training text, for the 5-gram; sorting takes about 90 bytes for each


def gzip_bits_per_byte(documents: Sequence[str]) -> float:
    """Returns the size of the documents after `gzip -9`, joined end to end."""
    data = _joined(documents)
    return 8 * len(gzip.compress(data, compresslevel=9)) / len(data)


def xz_bits_per_byte(documents: Sequence[str]) -> float:
    """Returns the size of the documents after `xz -9e`, joined end to end."""
    data = _joined(documents)
    return 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data)


def xz_after_training_bits_per_byte(train: Sequence[str], heldout: Sequence[str]) -> float:
    """Returns the size that the held-out text adds to an xz archive of the training text.

    The window of xz reaches back over all of the training text, or over its last `XZ_TEXT_LIMIT` bytes.
    """
    both = _joined(train)
    del both[:-XZ_TEXT_LIMIT]
    before = len(both)
    both += _joined(heldout)
    total = len(both)
    preset = XZ_FAST_PRESET
    if total <= XZ_EXTREME_BELOW:
        preset = 9 | lzma.PRESET_EXTREME
    window = min(XZ_WINDOW_LIMIT, 1 << max(16, (total - 1).bit_length()))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": window}]

    def size(length: int) -> int:
        return len(lzma.compress(memoryview(both)[:length], format=lzma.FORMAT_XZ, filters=filters))

    return 8 * (size(total) - size(before)) / (total - before)


def run_baselines(
    train_documents: Sequence[str],
    heldout_documents: Sequence[str],
    train: TokenStream,
    heldout: TokenStream,
    vocab_size: int,
) -> tuple[dict[str, dict[str, float]], NGramModel | None]:
    """Runs all baselines.

    Args:
        train, heldout (`TokenStream`): The tokens of the documents.
        vocab_size (`int`): All token ids are below it.

    Returns:
        `{name: {"bits_per_byte": ..., "seconds": ...}}`, and the fitted 5-gram for sampling: `None` for less than five tokens.
    """
    results: dict[str, dict[str, float]] = {}

    def measure(name: str, bits_per_byte: Callable[[], float]) -> None:
        start = time.perf_counter()
        results[name] = {"bits_per_byte": float(bits_per_byte()), "seconds": time.perf_counter() - start}

    measure("gzip -9", lambda: gzip_bits_per_byte(heldout_documents))
    measure("xz -9e", lambda: xz_bits_per_byte(heldout_documents))
    measure("xz after training text", lambda: xz_after_training_bits_per_byte(train_documents, heldout_documents))
    if len(train.ids) < 5:
        return results, None
    start = time.perf_counter()
    model = NGramModel(train.ids[-NGRAM_TOKEN_LIMIT:], vocab_size)
    nats = -float(np.sum(model.log_probabilities(heldout.ids)))
    results["5-gram"] = {"bits_per_byte": heldout.bits_per_byte(nats), "seconds": time.perf_counter() - start}
    return results, model


def _joined(documents: Sequence[str]) -> bytearray:
    joined = bytearray()
    for document in documents:
        joined += document.encode()
    return joined
