# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The table of the ablation: each variant at its best learning rate, on every corpus."""

from __future__ import annotations

from training.report.table_parts import markdown, where
from training.studies.ablation_results import change, score_text, scores
from training.studies.ablation_variants import DEFAULT, PAPER


def table(results: dict[str, dict]) -> str:
    """Returns a table per corpus: bits per byte of every variant, the change from its baseline, and its learning rate.

    Args:
        results: Content of the result files, by corpus.
    """
    return "\n".join(_table(corpus, result) + _notes(corpus, result) for corpus, result in results.items())


def _table(corpus: str, result: dict) -> str:
    found = scores(result)
    rows = []
    for name, entry in found.items():
        share = change(found, name)
        rows.append(
            [
                f"**{name}**" if name in (PAPER, DEFAULT) else name,
                score_text(entry),
                "" if share is None else f"{share:+.1%}",
                f"{entry['rate']:g}{'*' if entry['at_edge'] else ''}",
            ]
        )
    return markdown(["block", f"{corpus}: bits per byte", "change", "rate"], rows)


def _notes(corpus: str, result: dict) -> str:
    chosen = result["settings"]
    runs = list(result["runs"].values())
    sizes = {pick(row["parameters"] for row in runs) for pick in (min, max)}
    diverged = [f"{row['variant']} at {row['rate']:g}" for row in runs if row["diverged"]]
    last = max(runs, key=lambda row: row["finished"])
    return (
        f"\n{corpus}: {len(runs)} runs, each {chosen['steps']:,} steps of {chosen['batch_size']} × "
        f"{chosen['sequence_length']} tokens, {chosen['layers']} layers of {chosen['hidden_size']}, "
        f"{' to '.join(f'{size:,}' for size in sorted(sizes))} parameters, set by the MLP's width; "
        f"{sum(row['seconds'] for row in runs) / 3600:.1f} h in total. "
        f"Diverged: {'; '.join(diverged) or 'none'}. `{result['command']}`. {where(last)}.\n"
    )
