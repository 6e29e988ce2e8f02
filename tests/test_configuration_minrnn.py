# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy

import pytest
import torch
from support.model_cases import build
from transformers import AutoConfig

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM, MinRNNModel, MinRNNPreTrainedModel
from hf_minrnn.cache_minrnn import LAYER_TYPE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cell_type", "gru"),
        ("candidate_activation", "tanh"),
        ("conv_position", "end"),
        ("vocab_size", 0),
        ("hidden_size", -8),
        ("num_hidden_layers", 0),
        ("expand_ratio", 0.0),
        ("intermediate_size", -1),
        ("conv_kernel_size", -1),
        ("forget_gate_floor", 1.0),
        ("forget_gate_floor", -1.1),
        ("dropout", 1.0),
        ("rms_norm_eps", 0.0),
        ("initializer_range", -0.1),
        ("hidden_act", "no-such-activation"),
        ("normalize_gates", False),
        ("gate_bias", float("nan")),
        ("initializer_range", float("inf")),
        ("expand_ratio", float("inf")),
        ("expand_ratio", float("-inf")),
        ("expand_ratio", -1.0),
        ("max_position_embeddings", 0),
        ("max_position_embeddings", -1),
    ],
)
def test_invalid_values_are_rejected_by_name(field, value):
    with pytest.raises(Exception, match=field):
        MinRNNConfig(**{field: value})


@pytest.mark.parametrize(
    "field",
    ["vocab_size", "cell_type", "output_gate", "scan_backend", "tie_word_embeddings", "max_position_embeddings"],
)
def test_wrong_types_are_rejected_by_name(field):
    with pytest.raises(Exception, match=field):
        MinRNNConfig(**{field: [1]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"expand_ratio": 1.5, "output_projection": False}, "output_projection=False needs expand_ratio=1"),
        ({"conv_kernel_size": 1, "conv_position": "mixer"}, 'conv_kernel_size 1 in the "mixer" sees no other step'),
        ({"gate_bias": 1.0, "use_bias": False}, "gate_bias 1.0 needs use_bias=True"),
        ({"expand_ratio": 1.5, "hidden_size": 33}, "expand_ratio 1.5 times hidden_size 33 is not a whole number"),
    ],
)
def test_invalid_combinations_are_rejected(fields, message):
    with pytest.raises(Exception, match=message):
        MinRNNConfig(**fields)


def test_the_remedy_for_a_fractional_state_is_right():
    assert MinRNNConfig(hidden_size=33, expand_ratio=50 / 33).state_size == 50


def test_derived_values():
    config = MinRNNConfig(hidden_size=96, num_hidden_layers=4)
    assert (config.state_size, config.intermediate_size, config.layer_types) == (192, 128, [LAYER_TYPE] * 4)
    assert [round(config.layer_forget_gate_floor(n), 6) for n in range(4)] == [0.0, 0.3, 0.6, 0.9]
    # A wider state makes the MLP narrower, down to one half of its width.
    for ratio, plain, gated in ((0.5, 480, 320), (1, 384, 256), (1.5, 288, 192), (2, 192, 128), (4, 192, 128)):
        widths = (
            MinRNNConfig(hidden_size=96, expand_ratio=ratio, gated_mlp=x).intermediate_size for x in (False, True)
        )
        assert tuple(widths) == (-(-plain // 64) * 64, -(-gated // 64) * 64)
    assert MinRNNConfig(hidden_size=1440, expand_ratio=1.9).intermediate_size == 2112  # already a multiple of 64
    assert [MinRNNConfig.paper(hidden_size=96, expand_ratio=r).intermediate_size for r in (1.0, 2.0)] == [384, 384]
    assert MinRNNConfig.paper(hidden_size=96, gated_mlp=True).intermediate_size == 256
    assert MinRNNConfig.paper(hidden_size=96, intermediate_size=0).intermediate_size == 0
    assert MinRNNConfig(num_hidden_layers=1).layer_forget_gate_floor(0) == 0
    assert MinRNNConfig(intermediate_size=0).intermediate_size == 0


def test_round_trip_through_json(tmp_path):
    config = MinRNNConfig.paper(
        "minlstm", hidden_size=48, expand_ratio=1.5, scan_backend="of tomorrow", max_position_embeddings=None
    )
    config.save_pretrained(tmp_path)
    loaded = MinRNNConfig.from_pretrained(tmp_path)
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert (loaded.state_size, loaded.gate_bias, loaded.scan_backend) == (72, 3.0, "of tomorrow")
    assert loaded.max_position_embeddings is None and MinRNNConfig().max_position_embeddings == 32768


def test_paper_takes_any_field():
    config = MinRNNConfig.paper("mingru", candidate_activation="identity", conv_kernel_size=0)
    assert (config.candidate_activation, config.conv_kernel_size, config.gate_bias) == ("identity", 0, 0.0)


@pytest.mark.parametrize("hidden_size", [128, 512, 768])
@pytest.mark.parametrize("gated", [True, False])
def test_a_wider_state_keeps_the_number_of_parameters(hidden_size, gated):
    shape = {"vocab_size": 9, "hidden_size": hidden_size, "num_hidden_layers": 1, "gated_mlp": gated}
    with torch.device("meta"):
        counts = [
            MinRNNForCausalLM(MinRNNConfig(expand_ratio=ratio, **shape)).num_parameters()
            for ratio in (0.5, 1.0, 1.5, 2.0)
        ]
    rounding = 63 * (3 if gated else 2) * hidden_size
    assert max(counts) - min(counts) < 0.01 * counts[1] + rounding


def test_the_floors_of_a_saved_model_stay_with_its_blocks(tmp_path):
    ids = torch.arange(12)[None]
    model = build("mingru", num_hidden_layers=5)
    model.save_pretrained(tmp_path / "whole")
    whole = model(ids, output_hidden_states=True)
    first = MinRNNForCausalLM.from_pretrained(tmp_path / "whole", num_hidden_layers=3).eval()
    assert torch.equal(first(ids, output_hidden_states=True).hidden_states[2], whole.hidden_states[2])
    model.model.layers = torch.nn.ModuleList([model.model.layers[n] for n in (0, 1, 4)])
    model.config.num_hidden_layers = 3
    logits = model(ids).logits
    assert not torch.equal(logits, first(ids).logits)
    model.save_pretrained(tmp_path / "pruned")
    pruned = MinRNNForCausalLM.from_pretrained(tmp_path / "pruned").eval()
    assert torch.equal(pruned(ids).logits, logits)
    assert pruned.config.forget_gate_floor == pytest.approx([0.0, 0.225, 0.9])
    pruned.model.layers.append(copy.deepcopy(pruned.model.layers[1]))
    pruned.config.num_hidden_layers = 4
    pruned.save_pretrained(tmp_path / "grown")
    grown = MinRNNForCausalLM.from_pretrained(tmp_path / "grown").eval()
    assert torch.equal(grown(ids).logits, pruned(ids).logits)
    with pytest.raises(ValueError, match="has 4 values for 5 blocks: give one for each, or a number"):
        MinRNNForCausalLM.from_pretrained(tmp_path / "grown", num_hidden_layers=5)


def test_a_saved_config_makes_fresh_models_of_other_depths(tmp_path):
    MinRNNConfig(num_hidden_layers=4).save_pretrained(tmp_path)

    def floors(**changes):
        config = AutoConfig.from_pretrained(tmp_path, **changes)
        return [round(config.layer_forget_gate_floor(n), 6) for n in range(config.num_hidden_layers)]

    assert floors() == [0.0, 0.3, 0.6, 0.9] and floors(num_hidden_layers=2) == [0.0, 0.3]
    assert floors(num_hidden_layers=5) == [0.0, 0.3, 0.6, 0.9, 0.9]
    assert floors(num_hidden_layers=2, forget_gate_floor_depth=None) == [0.0, 0.9]


def test_names_of_floors(tmp_path):
    def floors(floor, blocks=4, **changes):
        config = MinRNNConfig(num_hidden_layers=blocks, forget_gate_floor=floor)
        config.save_pretrained(tmp_path)
        config = AutoConfig.from_pretrained(tmp_path, **changes)
        return [round(config.layer_forget_gate_floor(n), 6) for n in range(config.num_hidden_layers)]

    assert floors("rising") == floors(0.9) == [0.0, 0.3, 0.6, 0.9]
    assert floors("signed") == [-1.0, 0.3, 0.6, 0.9] and floors("signed", 1) == [-1.0]
    assert floors("signed", num_hidden_layers=2) == [-1.0, 0.3]  # the first blocks of a saved model
    assert floors(0.9, num_hidden_layers=2, forget_gate_floor="signed") == [-1.0, 0.3]
    assert floors("plain") == [0.0] * 4
    assert floors(-0.5) == [-0.5] * 4 and floors(-1, 1) == [-1]
    for wrong in ("Signed", "0.9", ""):
        with pytest.raises(Exception, match=f"a list of numbers, or one of rising, signed, plain, got {wrong!r}"):
            floors(wrong)


def test_a_model_without_its_first_block_keeps_the_floors_of_the_others(tmp_path):
    model = MinRNNForCausalLM(
        MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, forget_gate_floor="signed")
    )
    model.save_pretrained(tmp_path)
    assert MinRNNConfig.from_pretrained(tmp_path).forget_gate_floor == "signed"
    model.model.layers = model.model.layers[1:]
    model.config.num_hidden_layers = 2
    model.save_pretrained(tmp_path)
    loaded = MinRNNForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.arange(8)[None]
    assert loaded.config.forget_gate_floor == pytest.approx([0.45, 0.9])
    assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)


def test_lists_of_floors_are_checked():
    for floors, message in (([0.1], "has 1 values for 2 blocks"), ([0.1, 1.0], "below 1, got 1.0")):
        with pytest.raises(Exception, match=message):
            MinRNNConfig(num_hidden_layers=2, forget_gate_floor=floors)
    with pytest.raises(Exception, match="give expand_ratio"):
        MinRNNConfig(state_size=32)


def test_a_model_that_contains_minrnn_can_be_saved(tmp_path):
    class Two(MinRNNPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.encoder, self.head = MinRNNModel(config), torch.nn.Linear(config.hidden_size, 2)
            self.post_init()

    Two(build("mingru").config).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
