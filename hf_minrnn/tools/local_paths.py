# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Removes the folders of this machine from what is published. Their names may identify a user or a client."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePath, PureWindowsPath

# Files of a model's folder whose text is checked. A tokenizer's vocabulary is data, and may contain anything.
TEXT_SUFFIXES = (".json", ".md", ".txt", ".yml", ".yaml")
VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")
# Keys of JSON files whose values may be paths, and the key of a command line.
PATH_KEYS = {"dataset", "validation", "tokenizer", "init_from", "output_dir", "type", "name"}
PATH_KEYS |= {"name_or_path", "_name_or_path", "base_model_name_or_path"}
COMMAND_KEY = "command"
ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")


class LocalPathError(ValueError):
    """A file names a folder of this machine in a place that cannot be corrected automatically."""


def is_local_path(value: str) -> bool:
    """Whether a value that may be a path or a name on the Hub is a path.

    >>> is_local_path("/data/letters.txt"), is_local_path("owner/letters")
    (True, False)
    """
    looks_local = value.startswith(".") or ABSOLUTE.match(value) or value.count("/") > 1 or "\\" in value
    return bool(looks_local) or Path(value).expanduser().exists()


def public_path(path: str) -> str:
    """Returns the part of a path that is published: its last component, or `runs/NAME`, the default of the scripts.

    >>> public_path("/home/me/client/letters.txt"), public_path("runs/letters-mingru")
    ('letters.txt', 'runs/letters-mingru')
    """
    if re.fullmatch(r"runs/[^/.][^/]*", path):
        return path
    given = Path(path).expanduser()
    if given.name in ("", "..") or given == Path.home():
        given = given.resolve()
    if given == Path.home():  # its last component is usually the name of the user
        return "home"
    parts: PurePath = PureWindowsPath(path) if "\\" in path else given
    return parts.name or "folder"


def public_command(words: list[str], paths: list[str]) -> list[str]:
    """Returns the words of a command line, in which each of `paths` is replaced by its published part.

    >>> public_command(["--dataset", "/a/b.txt", "--output=/c/d.json"], ["/a/b.txt", "/c/d.json"])
    ['--dataset', 'b.txt', '--output=d.json']
    """
    public = []
    for word in words:
        option, equals, value = word.partition("=")
        if word in paths:
            public.append(public_path(word))
        elif equals and option.startswith("--") and value in paths:
            public.append(f"{option}={public_path(value)}")
        else:
            public.append(word)
    return public


def without_local_paths(files: dict[str, Path | bytes], folder: Path) -> dict[str, Path | bytes]:
    """Replaces the absolute paths that JSON files of a run record, in these files and wherever other files repeat them.

    Args:
        files (`dict`): Path or content of each file, by its name in the repository.
        folder (`Path`): The folder that they come from.

    Returns:
        `dict`: The same, with the new content of each file that had a path.

    Raises:
        LocalPathError: If a text file still contains the home folder, or the folder that `folder` is in.
    """
    texts = dict(_texts(files))
    paths = sorted(
        {path for name, text in texts.items() for path in _recorded_paths(name, text)}, key=len, reverse=True
    )
    folders = _private_folders(folder)
    changed: dict[str, Path | bytes] = {}
    for name, text in texts.items():
        new = text
        for path in paths:
            new = _without(new, path)
        for private in folders:
            if re.search(re.escape(private) + r"(?![\w.-])", new):
                raise LocalPathError(
                    f"{folder / name} names {private}, a folder of this machine: remove it from the file"
                )
        if new != text:
            changed[name] = new.encode()
    return files | changed


def _without(text: str, path: str) -> str:
    public = public_path(path)
    for written in {path, json.dumps(path)[1:-1]}:  # in JSON, a backslash is written twice
        text = text.replace(written, public)
    return text


def _texts(files: dict[str, Path | bytes]) -> Iterator[tuple[str, str]]:
    for name, content in files.items():
        if not name.endswith(TEXT_SUFFIXES) or name.rpartition("/")[2] in VOCABULARIES:
            continue
        data = content if isinstance(content, bytes) else content.read_bytes()
        try:
            yield name, data.decode("utf-8")
        except UnicodeDecodeError:
            continue  # not text, so no path can be read in it


def _recorded_paths(name: str, text: str) -> set[str]:
    """Returns the absolute paths in the values of a JSON file that may be paths."""
    if not name.endswith(".json"):
        return set()
    try:
        values = json.loads(text)
    except ValueError:
        return set()
    found = set()
    for key, value in _strings(values):
        words = [value] if key in PATH_KEYS else []
        if key == COMMAND_KEY:
            words = [word.partition("=")[2] if word.startswith("--") else word for word in _words(value)]
        found |= {word for word in words if _is_absolute(word)}
    return found


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _is_absolute(word: str) -> bool:
    return bool(ABSOLUTE.match(word)) and len(re.findall(r"[^/\\]+", word)) > 1 and "\n" not in word


def _strings(value: object) -> Iterator[tuple[str, str]]:
    """Yields the key and the value of each string in nested dicts and lists."""
    pairs: list[tuple[str, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [("", entry) for entry in value]
    for key, entry in pairs:
        if isinstance(entry, str):
            yield key, entry
        else:
            yield from _strings(entry)


def _private_folders(folder: Path) -> list[str]:
    """Returns the home folder, and the folder that `folder` is in unless it is as general as `/tmp`."""
    folders = {str(Path.home()), str(Path.home().resolve())} - {"/"}
    parent = folder.resolve().parent
    if len(parent.parts) > 2:
        folders.add(str(parent))
    return sorted(folders)


__all__ = ["LocalPathError", "is_local_path", "public_command", "public_path", "without_local_paths"]
