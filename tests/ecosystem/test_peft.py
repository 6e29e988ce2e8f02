# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""PEFT: LoRA on the targets that the README names, and every method on its default targets."""

import subprocess
import sys

import pytest
import torch
from support.model_cases import build, close, token_ids

from hf_minrnn import registration

peft = pytest.importorskip("peft")

TARGETS = ["pointwise", "in_proj", "out_proj", "gate_proj", "up_proj", "down_proj"]


def adapted(name="mingru", **options):
    model = peft.get_peft_model(
        build(name, **options), peft.LoraConfig(r=4, target_modules=TARGETS, task_type="CAUSAL_LM")
    )
    torch.manual_seed(2)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
    return model


# Options that a method needs for models as small as these.
OPTIONS = {
    "AdaLora": {"total_step": 10},
    "C3A": {"block_size": 12},
    "Miss": {"r": 8},
    "Psoft": {"r": 8},
    "Road": {"group_size": 8},
    "Shira": {"r": 4},
    "VBLoRA": {"vector_length": 12, "num_vectors": 8},
    "WaveFT": {"n_frequency": 100},
}
METHODS = ["Lora", "IA3", "LoHa", "LoKr", "OFT", "HRA", "LNTuning", "Vera", "FourierFT", "RandLora", *OPTIONS]


@pytest.mark.parametrize("cell", ["mingru", "minlstm", "bare"])
@pytest.mark.parametrize("method", dict.fromkeys(METHODS))
def test_default_targets(method, cell):
    config = getattr(peft, f"{method}Config")(task_type="CAUSAL_LM", **OPTIONS.get(method, {}))
    model, ids = peft.get_peft_model(build(cell), config).train(), token_ids(2, 9)
    parts = {name.rpartition(".")[2] for name in model.base_model.targeted_module_names}
    wanted = registration.OTHER_TARGETS.get(method.upper(), registration.TARGETS)
    missing = {"out_proj", "down_proj", "mlp_norm"} if cell == "bare" else set()
    assert parts == set(wanted) - missing
    model(input_ids=ids, labels=ids).loss.backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_lora_without_targets_trains_and_merges():
    model, ids = peft.get_peft_model(build("mingru"), peft.LoraConfig()).train(), token_ids(4, 12)
    optimizer, losses = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.1), []
    for _ in range(25):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    want = model.eval()(input_ids=ids).logits
    assert close(model.merge_and_unload()(ids).logits, want, 1e-4)


def test_ia3_counts_the_mlp_as_feed_forward():
    model = peft.get_peft_model(build("mingru"), peft.IA3Config())
    feed_forward = {
        name.rpartition(".")[2]: m.is_feedforward for name, m in model.named_modules() if hasattr(m, "ia3_l")
    }
    assert feed_forward == {"in_proj": False, "down_proj": True}


def test_every_table_of_peft_has_the_model_type_and_keeps_the_users_entries():
    tables = {name: table for name, table in vars(peft.utils.constants).items() if name.endswith("_MODULES_MAPPING")}
    assert len(tables) > 20 and all(registration.MODEL_TYPE in table for table in tables.values())
    lora = tables["TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING"]
    assert lora is peft.tuners.lora.LoraModel.target_module_mapping
    program = f"""
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as table
assert "minrnn" not in table
table["minrnn"] = ["up_proj"]
import hf_minrnn
assert table["minrnn"] == ["up_proj"]
import hf_minrnn.registration
hf_minrnn.registration.install()
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as table
assert table["minrnn"] == {registration.OTHER_TARGETS["IA3"]}
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_every_target_is_adapted_and_nothing_else_is_trained():
    model = adapted()
    for target in TARGETS:
        assert sum(f"{target}.lora_A" in key for key, _ in model.named_parameters()) == 3, target
    assert all("lora_" in key for key, parameter in model.named_parameters() if parameter.requires_grad)


def test_trains_saves_reloads_and_merges(tmp_path):
    model, ids = adapted().train(), token_ids(4, 12)
    optimizer, losses = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.05), []
    for _ in range(25):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    model.eval().save_pretrained(tmp_path)
    want = model(input_ids=ids).logits
    loaded = peft.PeftModel.from_pretrained(build("mingru"), tmp_path).eval()
    assert close(loaded(input_ids=ids).logits, want)
    merged = loaded.merge_and_unload()
    assert close(merged(ids).logits, want, 1e-4) and type(merged).__name__ == "MinRNNForCausalLM"


def test_adapted_models_generate_with_their_adapter():
    model, ids = adapted(eos_token_id=None).eval(), token_ids(2, 7)
    out = [model.generate(input_ids=ids, max_new_tokens=8, do_sample=False, use_cache=cache) for cache in (True, False)]
    assert torch.equal(*out)
    with model.disable_adapter():
        assert not torch.equal(model.generate(input_ids=ids, max_new_tokens=8, do_sample=False), out[0])


PROMPTS = {
    "prompt tuning": peft.PromptTuningConfig,
    "p-tuning": peft.PromptEncoderConfig,
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_virtual_tokens_train_and_generate(kind):
    base, ids = build("mingru", eos_token_id=None), token_ids(3, 9)
    torch.manual_seed(0)
    config = PROMPTS[kind](task_type="CAUSAL_LM", num_virtual_tokens=4, num_attention_heads=1)
    model = peft.get_peft_model(base, config)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    model.train()(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert gradients and all(gradient.abs().sum() > 0 for gradient in gradients)
    model.eval()
    prompt = model.get_prompt(1)
    out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    for row, start in ((0, 3), (1, 0)):
        text = ids[row : row + 1, start:]
        for _ in range(5):
            embedded = torch.cat([prompt, base.get_input_embeddings()(text)], 1)
            text = torch.cat([text, base(inputs_embeds=embedded).logits[:, -1:].argmax(-1)], 1)
        assert torch.equal(out[row, start:], text[0])
