# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Parts of the generated tables."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """A number that this project wants to reach."""

    name: str
    found: float
    target: float
    smaller_is_better: bool = False
    digits: int = 2

    def reached(self) -> bool:
        """Returns whether the number is as good as the target or better."""
        if self.smaller_is_better:
            return self.found <= self.target
        return self.found >= self.target


def markdown(header: list[str], rows: list[list[str]], side: str = "--:") -> str:
    """Returns a Markdown table. The first column is aligned left, the others right, or left with `side=":--"`."""
    lines = [header, [":--", *[side] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def details(summary: str, body: str) -> str:
    """Returns a section that is collapsed until the reader opens it.

    >>> print(details("Commands", "a\\n"), end="")
    <details><summary>Commands</summary>
    <BLANKLINE>
    a
    <BLANKLINE>
    </details>
    """
    return f"<details><summary>{summary}</summary>\n\n{body}\n</details>\n"


def where(result: dict) -> str:
    """Returns machine and versions as one line."""
    machine, versions = result["machine"], result["versions"]
    return (
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, {machine['vector_instructions']}; "
        f"Python {versions['python']}, torch {versions['torch']}, transformers {versions['transformers']}"
    )


def mamba_scan(result: dict) -> str:
    """Returns a sentence about the scan that transformers' Mamba used.

    >>> mamba_scan({"versions": {"mambapy": "1.2.0"}}), mamba_scan({"versions": {}})
    ("Mamba's scan is that of mambapy, in plain torch.", "Mamba's scan is a loop in Python.")
    """
    how = "that of mambapy, in plain torch" if "mambapy" in result["versions"] else "a loop in Python"
    return f"Mamba's scan is {how}."


def shape_of(entry: dict) -> str:
    """Returns the shape that an entry of a result was measured with.

    >>> shape_of({"shape": {"batch": 1, "time": 2, "channels": 3}})
    '(1, 2, 3)'
    """
    return f"({', '.join(map(str, entry['shape'].values()))})"


def missed(targets: list[Target]) -> list[str]:
    """Returns the targets that were missed, each with the number found.

    >>> missed([Target("a / b", 1.5, 2), Target("c / d", 3.0, 2)])
    ['a / b: 1.50 instead of 2.00']
    >>> missed([Target("a / b", 1.9996, 2)])
    ['a / b: 1.9996 instead of 2.00']
    """
    lines = []
    for target in targets:
        if target.reached():
            continue
        wanted = f"{target.target:.{target.digits}f}"
        found = f"{target.found:.{target.digits}f}"
        if found == wanted:  # a narrow miss must not look like a hit
            found = f"{target.found:.{target.digits + 2}f}"
        lines.append(f"{target.name}: {found} instead of {wanted}")
    return lines


def target_line(targets: list[Target]) -> str:
    """Returns a paragraph that says how many targets were reached and which were missed; empty without targets.

    >>> print(target_line([Target("a / b", 1.5, 2), Target("c / d", 3.0, 2)]).strip())
    Targets of this project: 1 of 2 reached. Missed: a / b: 1.50 instead of 2.00.
    """
    if not targets:
        return ""
    short = missed(targets)
    rest = f" Missed: {'; '.join(short)}." if short else ""
    return f"\nTargets of this project: {len(targets) - len(short)} of {len(targets)} reached.{rest}\n"
