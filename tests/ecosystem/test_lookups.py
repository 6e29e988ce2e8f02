# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tools that look classes up as attributes of transformers load a model that was saved without its code."""

import pytest
import torch
import transformers
from support.model_cases import build
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, pipeline

from hf_minrnn import MinRNNForCausalLM


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    words = Tokenizer(models.WordLevel({str(n): n for n in range(97)}, unk_token="2"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0", eos_token="1").save_pretrained(path)
    build("mingru", eos_token_id=None).save_pretrained(path)
    assert not list(path.glob("*.py"))
    return str(path)


def test_a_pipeline_loads_an_assistant_by_its_path(folder):
    plain = pipeline("text-generation", model=folder)
    assisted = pipeline("text-generation", model=folder, assistant_model=folder)
    assert type(assisted.assistant_model) is MinRNNForCausalLM
    options = {"max_new_tokens": 12, "do_sample": False}
    assert assisted("5 6 7", **options) == plain("5 6 7", **options)


def test_transformers_serve_loads_the_model(folder):
    model_manager = pytest.importorskip("transformers.cli.serving.model_manager")
    manager = model_manager.ModelManager(device="cpu")
    model = manager._load_model(f"{folder}@main")
    assert type(model) is MinRNNForCausalLM


def test_mlflow(folder, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    generator = pipeline("text-generation", model=folder)
    mlflow.transformers.save_model(generator, str(tmp_path / "saved"), pip_requirements=["hf-minrnn"])
    loaded = mlflow.transformers.load_model(str(tmp_path / "saved"))
    want = generator.model.state_dict()
    assert type(loaded.model) is MinRNNForCausalLM
    assert all(torch.equal(value, want[key]) for key, value in loaded.model.state_dict().items())


def test_transformers_has_the_class_that_mlflow_looks_up():
    # mlflow.transformers.load_model calls getattr(transformers, class name in its MLmodel file) before it reads a config.
    assert transformers.MinRNNForCausalLM is MinRNNForCausalLM
