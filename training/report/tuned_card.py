# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Writes the card of a fine-tuned model."""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_minrnn.tools.card import CELLS, card_data, usage
from hf_minrnn.tools.local_paths import public_path
from training.common.files import write_text
from training.common.text import byte_size
from training.corpus.corpus import Corpus
from training.lm.run_facts import base_facts, data_facts
from training.lm.snippets import opening
from training.lm.trained_on import TrainedOn
from training.report.cards import ARCHITECTURE, base_link, describe_text, heldout_notes, on_hub

CARD = """---
{metadata}
---
# {name}

A {cell} language model: {base}, fine-tuned on {title} by hf_minrnn's `finetune_trainer.py`. The fine-tuning took
{steps:,} steps of {batch_size:,} pieces of at most {length:,} tokens, with LoRA, whose adapters are merged.

{about}- Training text: {train}.
- Held-out text: {heldout} ({split}).
- Loss per token of the held-out text: {before:.4f} before, {after:.4f} after.{note}

{usage}
"""


def write_tuned_card(
    args: argparse.Namespace, corpus: Corpus, cell: str, before: float, after: float, record: TrainedOn
) -> None:
    """Writes README.md of the output folder. It names only the last component of each local path.

    Args:
        args (`argparse.Namespace`): Command line of `training.finetune_trainer`.
        cell (`str`): `mingru` or `minlstm`.
        before, after (`float`): Held-out loss per token.
        record (`TrainedOn`): What the weights were trained on.
    """
    data = data_facts(args, corpus)
    text = describe_text(data)
    about = f"{text['about']}\n\n" if text["about"] else ""
    if text["source"]:
        about += f"- Source: {text['source']}\n"
    if data["license"]:
        about += f"- Licence of the text: {data['license']}{text['license_note']}.\n"
    note = "".join(f"\n- {sentence}" for sentence in heldout_notes(record.heldout_seen, record.heldout_copies))
    base = base_facts(args.model)
    source = on_hub(data)
    metadata = card_data(
        ARCHITECTURE,
        cell,
        code=True,
        base_model=base["name"] if base["on_hub"] else None,
        license=args.license,
        datasets=[source] if source else None,
    )
    place = public_path(args.output)
    card = CARD.format(
        metadata=metadata.to_yaml(),
        name=(args.push_to_hub or place).rpartition("/")[2],
        cell=CELLS[cell],
        base=base_link(base),
        title=text["title"],
        about=about,
        steps=args.steps,
        batch_size=args.batch_size,
        length=args.length,
        train=_size(corpus.train),
        heldout=_size(corpus.heldout),
        split=corpus.split,
        before=before,
        after=after,
        note=note,
        usage=usage(ARCHITECTURE, place, code=True, prompt=args.prompt or opening(corpus.heldout)),
    )
    write_text(Path(args.output, "README.md"), card)


def _size(documents: list[str]) -> str:
    count = "1 document" if len(documents) == 1 else f"{len(documents):,} documents"
    return f"{byte_size(sum(len(document.encode()) for document in documents))} in {count}"
