# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import doctest
import json
import re
import shutil

import pytest

from training.report import cards, pictures, study_tables, table_parts, tables
from training.studies.modes import verdict_cell

README = tables.ROOT / "README.md"
PAGE = tables.ROOT / "training" / "RESULTS.md"
README_TABLES = ("exact", "speed")
COLLAPSED = re.compile(r"<details>.*?</details>", re.DOTALL)


def columns(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table_lines(text):
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: str(path.relative_to(tables.ROOT)))
def test_committed_tables_come_from_the_committed_results(path):
    text = path.read_text(encoding="utf-8")
    assert tables.render(text) == text, "run: python -m training.report.tables"


def test_a_changed_result_changes_the_table(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    shutil.copytree(tables.RESULTS, folder)
    path = folder / "bench_decode.json"
    result = json.loads(path.read_text())
    next(iter(result["contexts"]["minGRU"].values()))["median_ms"] = 123.456
    path.write_text(json.dumps(result))
    monkeypatch.setattr(tables, "RESULTS", folder)
    assert "123.46 ms" in tables.render("<!-- table decode -->\n<!-- end -->")


def test_unknown_tables_and_missing_numbers_are_rejected(tmp_path, monkeypatch):
    with pytest.raises(KeyError, match="nonsense"):
        tables.render("<!-- table nonsense -->\n<!-- end -->")
    (tmp_path / "bench_decode.json").write_text(
        '{"contexts": {"minGRU": {}}, "models": {}, "ratios": {}, "compiled_with": ""}'
    )
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(KeyError, match="machine"):
        tables.render("<!-- table decode -->\n<!-- end -->")
    with pytest.raises(FileNotFoundError):
        tables.render("<!-- table scan -->\n<!-- end -->")


def test_tables_show_the_results_that_exist(tmp_path, monkeypatch):
    """The ablation shows the corpora that have run; the log shows the benchmarks that have targets and a result."""
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "There are no results yet." in tables.render("<!-- table ablation -->\n<!-- end -->")
    machine = {"cpu": "Abacus", "threads": 1, "cores": 2, "vector_instructions": "none"}
    row = {"variant": "paper", "rate": 0.1, "seed": 0, "validation_bits_per_byte": 2.5, "test_bits_per_byte": 2.25}
    row |= {"diverged": False, "seconds": 9.0, "parameters": 10, "finished": "now", "machine": machine}
    row["versions"] = {"python": "3", "torch": "2", "transformers": "5"}
    sizes = dict.fromkeys(("steps", "batch_size", "sequence_length", "layers", "hidden_size", "sweep_seed"), 0)
    (tmp_path / "ablation_bpe.json").write_text(json.dumps({"command": "x", "settings": sizes, "runs": {"a": row}}))
    text = tables.render("<!-- table ablation -->\n<!-- end -->")
    assert "| block | bpe: bits per byte | change | rate |" in text and "| **paper** | 2.250 |  | 0.1* |" in text
    assert "bytes:" not in text
    result = {"steps": {}, "models": {}, "batch": 1, "time": 2, "machine": machine, "versions": row["versions"]}
    result["ratios"] = {"a / b": {"ratio": 1.0, "target": 2.0}}
    result["scan_share"] = {name: {"total": 0.25} for name in ("minGRU", "minLSTM")} | {"target": 0.1}
    (tmp_path / "bench_step.json").write_text(json.dumps(result))
    line = "- `training.bench.step`: 0 of 3 targets reached. Missed: a / b: 1.00 instead of 2.00; the scan's share, minGRU: "
    assert f"{line}0.25 instead of 0.10;" in tables.render("<!-- table missed -->\n<!-- end -->")


# --- the results page


def test_the_page_has_every_table_once_and_the_readme_and_the_log_have_the_others():
    found = re.findall(r"<!-- table (\S+) -->", PAGE.read_text(encoding="utf-8"))
    assert len(found) == len(set(found))
    assert set(found) == set(tables.TABLES) - {*README_TABLES, "missed"}


@pytest.mark.parametrize("picture", sorted(path.name for path in tables.RESULTS.glob("*.png")))
def test_every_picture_is_shown_with_alternative_text_and_a_caption(picture):
    (shown,) = re.findall(
        rf"^!\[(.*)\]\(results/{picture}\)\n\n(\*.*\*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    alternative_text, caption = shown
    assert len(alternative_text) > 30 and caption.endswith(".*")


def test_every_result_file_is_used(monkeypatch):
    used, read = set(), tables.load
    monkeypatch.setattr(tables, "load", lambda name: used.add(name) or read(name))
    for table in tables.TABLES.values():
        table()
    used |= set(pictures.PICTURES)
    used |= {f"{name}{part}" for name in cards.NAMES for part in ("", "-evaluation")}
    assert {path.stem for path in tables.RESULTS.glob("*.json")} <= used


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(#([\w-]+)\)", PAGE.read_text(encoding="utf-8")))))
def test_links_within_the_page_lead_to_headings(link):
    titles = re.findall(r"^#+ (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert link in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_to_files_lead_to_files():
    text = PAGE.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https:|#)([^)#]+)", text) + re.findall(
        r"^\[f\d+\]: (?!https:)(\S+)", text, re.MULTILINE
    )
    assert len(links) > 40 and [link for link in links if not (PAGE.parent / link).exists()] == []


def test_the_contents_list_every_section():
    text = PAGE.read_text(encoding="utf-8")
    contents = text[: text.index("\n## ")]
    for title in re.findall(r"^##+ (.*)$", text, re.MULTILINE):
        assert f"](#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')})" in contents


def test_the_commands_name_modules_that_exist():
    modules = re.findall(r"python -m (training[\w.]+)", PAGE.read_text(encoding="utf-8"))
    assert len(set(modules)) > 15
    assert all((tables.ROOT / f"{module.replace('.', '/')}.py").is_file() for module in set(modules))


# --- the width of tables


@pytest.mark.parametrize("name", README_TABLES)
def test_tables_of_the_readme_fit_its_column(name):
    """At GitHub's font of about 7 pixels per character, 880 pixels hold 110 characters with the padding of the cells."""
    lines = table_lines(tables.TABLES[name]())
    assert 6 <= len(lines) <= 7
    cells = [columns(line) for line in lines if not line.startswith("| :--")]
    assert len(cells[0]) <= 6
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    assert sum(widths) + 4 * len(widths) <= 118


@pytest.mark.parametrize("name", sorted(set(tables.TABLES) - {"missed"}))
def test_no_table_has_more_than_nine_columns(name):
    shown = COLLAPSED.sub("", tables.TABLES[name]())
    assert max(len(columns(line)) for line in table_lines(shown)) <= 9


# --- the two tables of the README


def test_the_short_table_of_modes_agrees_with_the_long_one():
    result = tables.load("compare_modes")
    lines = [columns(line) for line in table_lines(study_tables.exact(result))]
    assert lines[0] == ["model", "right padding", "packing", "chunked prefill", "speculative decoding"]
    for name, *words in lines[2:]:
        for mode, word in zip(lines[0][1:], words):
            cell = verdict_cell(result["models"][name]["modes"][mode])
            assert set(word.split(" or ")) == set(re.findall("exact|wrong|refused", cell))
    assert lines[2] == ["minGRU", *["exact"] * 4]


def test_the_short_table_of_speed_agrees_with_the_long_ones():
    lines = [columns(line) for line in table_lines(tables.TABLES["speed"]())][2:]
    long = "".join(tables.TABLES[name]() for name in ("modules", "layers", "decode", "gpu"))
    for line in lines[:3]:
        assert f" {line[-1]} " in long
    assert [re.findall(r"[\d.]+ ms", line[2])[0][:4] in long for line in lines] == [True] * 5
    assert [line[3].rpartition(" ")[0].rpartition(" ")[0] for line in lines] == [
        "`nn.GRU`",
        "`nn.GRU`",
        "minGRU-pytorch",
        "Llama",
        "cuDNN's GRU",
    ]


@pytest.mark.parametrize("module", [table_parts, study_tables], ids=lambda module: module.__name__)
def test_examples(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
