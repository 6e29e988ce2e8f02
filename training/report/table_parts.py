# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Parts of the tables that tables.py writes."""

from __future__ import annotations


def markdown(header: list[str], rows: list[list[str]], side: str = "--:") -> str:
    """A table; the first column to the left, the others to the right, or with `side=":--"` to the left too."""
    lines = [header, [":--", *[side] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def where(result: dict) -> str:
    """One line on machine and versions."""
    machine, versions = result["machine"], result["versions"]
    return (
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, {machine['vector_instructions']}; "
        f"Python {versions['python']}, torch {versions['torch']}, transformers {versions['transformers']}"
    )


def mamba_scan(result: dict) -> str:
    """A sentence on how transformers' Mamba ran.

    >>> mamba_scan({"versions": {"mambapy": "1.2.0"}}), mamba_scan({"versions": {}})
    ("Mamba's scan is mambapy's, in plain torch.", "Mamba's scan is a loop in Python.")
    """
    how = "mambapy's, in plain torch" if "mambapy" in result["versions"] else "a loop in Python"
    return f"Mamba's scan is {how}."


def shape_of(entry: dict) -> str:
    """The shape that an entry of a result was measured at.

    >>> shape_of({"shape": {"batch": 1, "time": 2, "channels": 3}})
    '(1, 2, 3)'
    """
    return f"({', '.join(map(str, entry['shape'].values()))})"


def missed(targets: list[tuple[str, float, float, bool]]) -> str:
    """A line on the targets that were not reached, and one on how many were.

    Args:
        targets: What is asked of what, the number found, the target, and whether smaller is better.

    >>> print(missed([("a / b", 1.5, 2, False), ("c / d", 3.0, 2, False)]).strip())
    Targets of this project's own: 1 of 2 reached; short of them: a / b 1.50 of 2.00.
    >>> print(missed([("a / b", 1.9996, 2, False)]).strip())
    Targets of this project's own: 0 of 1 reached; short of them: a / b 1.9996 of 2.00.
    """
    short = []
    for name, found, target, small in targets:
        if not (found <= target if small else found >= target):
            digits = 4 if f"{found:.2f}" == f"{target:.2f}" else 2  # a miss by a hair is not to look like none
            short.append(f"{name} {found:.{digits}f} of {target:.2f}")
    rest = f"; short of them: {'; '.join(short)}" if short else ""
    return (
        f"\nTargets of this project's own: {len(targets) - len(short)} of {len(targets)} reached{rest}.\n"
        if targets
        else ""
    )
