# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinGRU and MinLSTM: layers that replace torch.nn.GRU and torch.nn.LSTM. Needs torch only."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from .calls_minrnn import leaf_node
from .cells import CELLS
from .packed import packed_values, resets_backwards, sequence_order, turn_index
from .scan_choice import is_one_step
from .time_gaps import check_time_delta, gaps_backwards
from .torch_private import check, is_any_autocast_enabled, is_eager, is_tracing

OUTPUT_GATES = (None, "gate", "highway")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # of a layer; autocast converts the first three
# Chosen by training/studies/layer_defaults.py: the channels of a new layer remember from 2 to about 56 steps, 1 + exp(bias).
GATE_BIAS = (0.0, 4.0)
# What the names of `forget_gate_floor` stand for: the floor of the first layer. That of the others is 0.
FLOORS = {"plain": 0.0, "signed": -1.0}


class MinRNNBase(nn.Module):
    """Base class of `MinGRU` and `MinLSTM`; arguments as there."""

    cell_type: str
    mode: str  # "GRU" or "LSTM", for code that asks torch.nn's layers for the form of their state

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        paper: bool = False,
        candidate_activation: str | None = None,
        normalize_gates: bool = True,
        forget_gate_floor: float | str | Sequence[float] = 0.0,
        gate_bias: float | tuple[float, float] | None = None,
        output_gate: str | None = None,
        state_dtype: torch.dtype | None = None,
        backend: str = "auto",
    ):
        super().__init__()
        if proj_size:
            raise ValueError(
                f"proj_size must be 0, got {proj_size}: no state enters the gates, so put an nn.Linear behind the layer"
            )
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        switches = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional, "paper": paper}
        _check_sizes_and_switches(sizes, switches)
        if isinstance(dropout, bool | str) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability, from 0 to 1, got {dropout!r}")
        if output_gate not in OUTPUT_GATES:
            raise ValueError(f"output_gate must be one of {OUTPUT_GATES}, got {output_gate!r}")
        if output_gate == "highway" and (bidirectional or input_size != hidden_size):
            raise ValueError(
                "output_gate='highway' mixes the output with the input, which needs input_size equal to hidden_size and one "
                f"direction, got {input_size}, {hidden_size} and bidirectional={bidirectional}"
            )
        if state_dtype is not None and not (isinstance(state_dtype, torch.dtype) and state_dtype.is_floating_point):
            raise ValueError(f"state_dtype must be a floating-point torch.dtype, or None, got {state_dtype!r}")
        if dropout and num_layers == 1:
            warnings.warn(f"dropout={dropout} acts between layers: it does nothing in one layer", stacklevel=2)
        if candidate_activation is None:
            candidate_activation = "g" if paper else "identity"
        if gate_bias is None:
            gate_bias = 0.0 if paper or not bias else GATE_BIAS
        elif isinstance(gate_bias, list):
            gate_bias = tuple(gate_bias)  # pyright: ignore[reportAssignmentType] the cell checks the length
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout = float(dropout)
        self.proj_size = 0
        self.candidate_activation = candidate_activation
        self.normalize_gates = normalize_gates
        self.forget_gate_floor = forget_gate_floor
        self.gate_bias = gate_bias
        self.output_gate = output_gate
        self.state_dtype = state_dtype
        options = {
            "candidate_activation": candidate_activation,
            "normalize_gates": normalize_gates,
            "gate_bias": gate_bias,
            "extra_size": 0 if output_gate is None else hidden_size,
            "backend": backend,
            "device": device,
            "dtype": dtype,
        }
        cells, size = [], input_size
        for floor in _floors(forget_gate_floor, num_layers):
            for _ in range(self.num_directions):
                cells.append(CELLS[self.cell_type](size, hidden_size, bias, forget_gate_floor=floor, **options))
            size = self.num_directions * hidden_size
        self.cells: Any = nn.ModuleList(cells)  # Any: torch does not type its elements

    @property
    def num_directions(self) -> int:
        """2 for a bidirectional layer, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The weights, one list for every layer and direction, as in `torch.nn.GRU`."""
        return [list(cell.parameters()) for cell in self.cells]

    def reset_parameters(self) -> None:
        """Draws new initial weights."""
        for cell in self.cells:
            cell.reset_parameters()

    def reset_gate_bias(self) -> None:
        """Sets the gate biases from `gate_bias` again. Call it after code that has re-initialised every `nn.Linear`."""
        for cell in self.cells:
            cell.reset_gate_bias()

    def flatten_parameters(self) -> None:
        """Does nothing. It exists because code written for `torch.nn.GRU` may call it."""

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        defaults |= {"candidate_activation": "identity", "normalize_gates": True, "output_gate": None}
        defaults |= {"state_dtype": None, "forget_gate_floor": 0.0, "gate_bias": GATE_BIAS if self.bias else 0.0}
        return shown + "".join(f", {n}={getattr(self, n)!r}" for n, d in defaults.items() if getattr(self, n) != d)

    def forward(
        self,
        input: torch.Tensor | PackedSequence,
        hx: torch.Tensor | None = None,
        resets: torch.Tensor | PackedSequence | None = None,
        time_delta: torch.Tensor | PackedSequence | None = None,
    ) -> tuple[torch.Tensor | PackedSequence, torch.Tensor]:
        """Runs all layers over a sequence, a batch of sequences, or packed sequences.

        Args:
            input (`torch.Tensor` or `PackedSequence`): `(time, batch, input_size)`, with `batch_first` `(batch, time,
                input_size)`, unbatched `(time, input_size)`; or as `torch.nn.utils.rnn` packs it.
            hx (`torch.Tensor`, *optional*): State before the first step, zeros by default; see the class.
            resets (`torch.Tensor`, bool, *optional*): Laid out as `input` without its features; `PackedSequence` for a
                packed input. Where True a new episode begins: the state before that step becomes zero, whatever it was.
                Backwards, a bidirectional layer starts again at each episode's last step. A NaN stays in its episode, in
                outputs, states and gradients of the input. Gradients of the weights are sums over all steps and contain it.
            time_delta (`torch.Tensor`, floating point, *optional*): Laid out as `resets`. For events at irregular times: the
                time before each step, in a unit of your choice; 1 is an ordinary step. In all layers the decay of the step is
                raised to this power, see `minrnn_scan`. The first step has one too: give it 1 if nothing is known, because
                with 0 the first input has no effect. Backwards, the gap before a step is the one between it and the next
                step in time, and 1 for the last step of a sequence or an episode.

        Returns:
            `(output, h_n)`; see the class.

        Raises:
            ValueError: For an input with other dimensions or another dtype, `resets` or a `time_delta` that do not fit, or a
                `time_delta` with a `forget_gate_floor` below 0.
            RuntimeError: For other features or an `hx` of another size, as `torch.nn.GRU` raises it.
        """
        node = leaf_node(self, MinRNNBase.forward, input, hx, resets, time_delta)
        if node is not None:
            return node
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, resets, time_delta)
        steps = self._check_input(input, hx, resets, time_delta)
        batched = input.dim() == 3
        if not batched:
            input = input.unsqueeze(0)
            hx = None if hx is None else hx.unsqueeze(1)
            steps = [None if x is None else x.unsqueeze(0) for x in steps]
        elif not self.batch_first:
            input = input.transpose(0, 1)
            steps = [None if x is None else x.transpose(0, 1) for x in steps]
        if hx is not None:
            self._check_state(hx, input.shape[0])
        output, states = self._run(input, hx, steps[0], None, time_delta=steps[1])
        if batched and self.batch_first:
            return output, states
        output = output.transpose(0, 1) if batched else output.squeeze(0)
        if output.requires_grad and not is_one_step(input.shape[1]) and not is_tracing():
            # The scan's backward pass reads its output, and contiguous() does not copy a single row. A caller who writes to
            # the output in place must not change what the backward pass reads.
            output = output.clone(memory_format=torch.contiguous_format)
        return output.contiguous(), states if batched else states.squeeze(1)

    def _check_input(self, input, hx, resets, time_delta) -> list:
        """Raises `ValueError` or `RuntimeError` for an argument that does not fit. Returns the resets and the time gaps."""
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        self._check_features(input)
        if resets is not None:
            is_tensor = isinstance(resets, torch.Tensor)
            if not (is_tensor and resets.shape == input.shape[:-1] and resets.dtype == torch.bool):
                got = f"{resets.dtype} of {tuple(resets.shape)}" if is_tensor else type(resets).__name__
                raise ValueError(f"resets must be bool of shape {tuple(input.shape[:-1])}, got {got}")
        if time_delta is not None:
            check_time_delta(time_delta, input.shape[:-1])
        if hx is not None and hx.dim() != input.dim():
            form = "batched 3-D" if input.dim() == 3 else "unbatched 2-D"
            raise RuntimeError(f"For {form} input, hx should also be {input.dim()}-D but got {hx.dim()}-D tensor")
        return [resets, time_delta]

    def _check_features(self, x):
        if x.is_complex():
            raise ValueError(
                f"input is {x.dtype}, and the states are real: use torch.view_as_real(input).flatten(-2), which has twice "
                "the features"
            )
        # From the dicts: modules that replace the weight by one of another kind, or quantize it, convert the input themselves.
        weight = self.cells._modules["0"].in_proj._parameters.get("weight")
        if type(weight) is nn.Parameter and x.dtype != weight.dtype:
            has_numbers = weight.is_floating_point() or weight.is_complex()
            if has_numbers and not (is_any_autocast_enabled() and x.dtype in DTYPES[:3]):
                remedies = [f"input.to({weight.dtype})"] if weight.dtype in DTYPES else []
                remedies += [f"layer.to({x.dtype})"] if x.dtype in DTYPES else []
                raise ValueError(f"input is {x.dtype} and the weights are {weight.dtype}: use {', or '.join(remedies)}")
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _check_state(self, hx, rows: int):
        wanted = (len(self.cells), rows, self.hidden_size)
        if hx.shape != wanted:
            raise RuntimeError(f"Expected hidden size {wanted}, got {tuple(hx.shape)}")

    def _packed(self, packed, hx, resets, time_delta):
        # The packed steps are put in order, one sequence after the other, as cu_seqlens describes them.
        data, batch_sizes, sorted_indices, unsorted_indices = packed
        self._check_features(data)
        resets = None if resets is None else packed_values("resets", resets, "bool", packed)
        gaps = None if time_delta is None else packed_values("time_delta", time_delta, "float", packed)
        rows = int(batch_sizes[0])
        check(rows >= 1)  # a compiled graph knows nothing else about this number
        if hx is not None:
            if torch.compiler.is_compiling():
                check(rows == hx.shape[1])
            self._check_state(hx, rows)
            if sorted_indices is not None:
                hx = hx.index_select(1, sorted_indices)
        back, cu_seqlens = (index.to(data.device) for index in sequence_order(batch_sizes, rows, len(data)))
        order = torch.empty_like(back).scatter_(0, back, torch.arange(len(back), device=back.device))
        resets = None if resets is None else resets[order].unsqueeze(0)
        gaps = None if gaps is None else gaps[order].unsqueeze(0)
        output, states = self._run(data[order].unsqueeze(0), hx, resets, cu_seqlens, time_delta=gaps)
        if unsorted_indices is not None:
            states = states.index_select(1, unsorted_indices)
        return PackedSequence(output[0][back], batch_sizes, sorted_indices, unsorted_indices), states

    def _run(self, x, hx, resets, cu_seqlens, record=None, reset_states=None, time_delta=None):
        """Returns the output `(batch, time, directions * hidden_size)` and the final states `(cells, rows, hidden_size)`.

        The input `x` is `(batch, time, features)`. Each cell appends its states after every step, `(batch, time, hidden_size)`,
        to the list `record`. `reset_states`, `(batch, time, cells, hidden_size)`, replace the states at `resets`, zeros by
        default. These two are for one direction only.
        """
        turn = turned_resets = turned_gaps = None
        if self.bidirectional:
            turn = turn_index(x.shape[1], cu_seqlens, x.device)
            turned_resets = resets_backwards(resets, turn, cu_seqlens)
            turned_gaps = gaps_backwards(time_delta, turn, resets, cu_seqlens)
        states, outputs = [], []
        for number, cell in enumerate(self.cells):
            state = None if hx is None else hx[number]
            if turn is not None and number % 2 == 1:
                turned = x.index_select(1, turn)
                h, state = self._cell(cell, turned, state, turned_resets, cu_seqlens, turned_gaps)
                h = h.index_select(1, turn)
            else:
                reset_state = None if reset_states is None else reset_states[:, :, number]
                h, state = self._cell(cell, x, state, resets, cu_seqlens, time_delta, record, reset_state)
            states.append(state)
            outputs.append(h)
            if turn is not None and number % 2 == 0:
                continue
            x = h if turn is None else torch.cat(outputs, -1)
            outputs = []
            if self.dropout and self.training and len(states) < len(self.cells):
                x = F.dropout(x, self.dropout)
        states = torch.stack(states)
        dtype = self.state_dtype or x.dtype
        return x, states if states.dtype == dtype else states.to(dtype)

    def _cell(self, cell, x, state, resets, cu_seqlens, time_delta, record=None, reset_state=None):
        options = {"resets": resets, "cu_seqlens": cu_seqlens, "reset_state": reset_state, "time_delta": time_delta}
        h, state, *gate = cell(x, state, **options)
        if record is not None:
            record.append(h)
        if self.output_gate == "gate":
            h = h * torch.sigmoid(gate[0])
        elif self.output_gate == "highway":
            h = torch.lerp(x.to(h.dtype), h, torch.sigmoid(gate[0]))
        return h, state


def _check_sizes_and_switches(sizes: dict, switches: dict) -> None:
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be a positive integer, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value}")
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}")


def _floors(floor: float | str | Sequence[float], layers: int) -> list:
    """Returns the forget-gate floor of each layer."""
    if isinstance(floor, str):
        if floor not in FLOORS:
            raise ValueError(
                f"forget_gate_floor must be a number, a list of numbers, or one of {', '.join(FLOORS)}, got {floor!r}"
            )
        return [FLOORS[floor]] + [0.0] * (layers - 1)
    if not isinstance(floor, list | tuple):
        return [floor] * layers
    if len(floor) != layers:
        raise ValueError(
            f"forget_gate_floor must be one number, or one for each of the {layers} layers, got {len(floor)}: {floor!r}"
        )
    return list(floor)


class MinGRU(MinRNNBase):
    """minGRU (arXiv 2410.01201, section 3.1) as a replacement for `torch.nn.GRU`: same arguments, shapes and return values.

    Differences: the gates depend on the input only, so a layer trains in parallel, and has fewer weights. Its decays lie in
    [0, 1] by default, so it cannot keep track of parity-like states at finite precision (arXiv 2411.12537);
    `forget_gate_floor="signed"` can. Decays do not mix channels, so neither can follow a composition of permutations, as a
    GRU can. The weights have other names (`cells.0.in_proj.weight`), and the initial distribution of `torch.nn.Linear`,
    except for the gates' biases.

    The defaults were chosen by measurement (training/README.md, "Defaults of MinGRU and MinLSTM") and suit all tasks that were
    tried. `paper=True` gives the paper's form, which was worse on most of them. A floor of 0.9 suits only tasks that read
    long sequences to their end: a policy or a forecast of the next step needs recent inputs. The candidate of nn.GRU is
    bounded, the identity is not: where plain SGD with a rate of 20 diverged, `output_gate="gate"` or a rate of 5 helped,
    smaller weights did not.

    Args:
        input_size (`int`): Features of the input.
        hidden_size (`int`): Channels of the state.
        num_layers (`int`, defaults to 1): Number of stacked layers.
        bias (`bool`, defaults to `True`): Whether the projections have biases.
        batch_first (`bool`, defaults to `False`): `(batch, time, features)` instead of `(time, batch, features)`.
        dropout (`float`, defaults to 0.0): Dropout between layers, in training.
        bidirectional (`bool`, defaults to `False`): A second cell in every layer reads backwards.
        device, dtype: As for any `torch.nn` module.
        proj_size (`int`): Must be 0.
        paper (`bool`, defaults to `False`): The paper's form: "g" and 0.0 become the defaults of `candidate_activation` and
            `gate_bias`.
        candidate_activation (`str`, *optional*): "identity", the default, or "g", which is never negative.
        forget_gate_floor (`float`, list of `float` or `str`, defaults to 0.0): Floor of the decay, in [-1, 1), of all layers or
            of each layer. A higher floor means a longer memory, and a step can change the state less. Below 0 the decay can
            change the sign of the state, which parity and other state tracking need (arXiv 2411.12537). `"signed"` is -1 in the
            first layer and 0 in the others, and `"plain"` is 0 in all layers.
        gate_bias (`float` or pair of `float`, *optional*): Initial bias that makes a new cell remember. Without input, a cell
            keeps the share `sigmoid(gate_bias)` of its state at each step, which is a memory of `1 + exp(gate_bias)` steps. A
            pair is spread evenly over the channels. The default is `(0.0, 4.0)`, 2 to 56 steps, and 0.0 without `bias`.
            Increase the second number for a longer memory.
        output_gate (`str`, *optional*): "gate" multiplies the output by a sigmoid of a projection of the input. "highway" uses
            this sigmoid to mix output and input, which needs `input_size == hidden_size` and one direction.
        state_dtype (`torch.dtype`, *optional*): Dtype of the returned `h_n`. By default that of the output, as in
            `torch.nn.GRU`. A bfloat16 model that carries its state from call to call needs `torch.float32`, or small updates
            are rounded away.
        backend (`str`, defaults to `"auto"`): Backend of the scan, see `minrnn_scan`.

    `layer(input, h_0, resets, time_delta)` returns `(output, h_n)`. With D directions, `output` is
    `(time, batch, D * hidden_size)` or laid out as the input, `h_0` and `h_n` are `(D * num_layers, batch, hidden_size)`;
    without batch dimension if the input has none.

    Raises:
        TypeError: For a size that is not an integer, or a switch that is not a bool.
        ValueError: For an argument that does not fit; the message names it.

    >>> layer = MinGRU(8, 16, num_layers=2, batch_first=True)
    >>> output, h_n = layer(torch.randn(3, 5, 8))
    >>> output.shape, h_n.shape
    (torch.Size([3, 5, 16]), torch.Size([2, 3, 16]))

    Events at irregular times come with the time before each of them. The first gap is 1, which is an ordinary step:

    >>> times = torch.tensor([0.0, 2.5, 3.0, 9.0, 9.5]).expand(3, 5)
    >>> gaps = times.diff(prepend=times[:, :1] - 1)
    >>> output, h_n = layer(torch.randn(3, 5, 8), time_delta=gaps)
    >>> gaps[0].tolist(), output.shape
    ([1.0, 2.5, 0.5, 6.0, 0.5], torch.Size([3, 5, 16]))
    """

    cell_type = "mingru"
    mode = "GRU"


class MinLSTM(MinRNNBase):
    """minLSTM (arXiv 2410.01201, section 3.2) as a replacement for `torch.nn.LSTM`: same arguments, shapes and return values.

    Differences, in addition to those of `MinGRU`: there is no cell state. The second element of the returned pair is h_n
    again. The second element of an incoming pair is ignored, with one warning if it differs from h_0.

    Args:
        proj_size (`int`): Must be 0; at the same position as in `torch.nn.LSTM`.
        normalize_gates (`bool`, defaults to `True`): Divide the two gates by their sum.
        gate_bias: A number is the initial bias of the forget gate, before the two gates are divided by their sum. With a pair,
            the input gate gets the negative, so that the decay is initially `sigmoid(gate_bias)` as in `MinGRU`.
        others: As in `MinGRU`.

    `layer(input, (h_0, c_0), resets, time_delta)` returns `(output, (h_n, h_n))`, shapes as in `MinGRU`.

    >>> layer = MinLSTM(8, 16)
    >>> output, (h_n, c_n) = layer(torch.randn(5, 3, 8))
    >>> output.shape, h_n.shape, c_n is h_n
    (torch.Size([5, 3, 16]), torch.Size([1, 3, 16]), True)
    """

    cell_type = "minlstm"
    mode = "LSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ):
        shape = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(*shape, device, dtype, proj_size=proj_size, **options)
        self.warned = False

    def forward(
        self,
        input: torch.Tensor | PackedSequence,
        hx: tuple[torch.Tensor, torch.Tensor] | None = None,
        resets: torch.Tensor | PackedSequence | None = None,
        time_delta: torch.Tensor | PackedSequence | None = None,
    ) -> tuple[torch.Tensor | PackedSequence, tuple[torch.Tensor, torch.Tensor]]:
        """Runs all layers as `MinGRU.forward` does, with a pair `(h_0, c_0)` for `hx` and `(h_n, h_n)` as second result."""
        node = leaf_node(self, MinLSTM.forward, input, hx, resets, time_delta)
        if node is not None:
            return node
        state = None
        if hx is not None:
            if not isinstance(hx, tuple | list) or len(hx) != 2:
                raise RuntimeError(f"MinLSTM: hx must be a pair (h_0, c_0), got {type(hx).__name__}")
            state = self._without_cell_state(*hx)
        output, state = super().forward(input, state, resets, time_delta)
        return output, (state, state)

    def _without_cell_state(self, h, c):
        if h.shape != c.shape:
            raise RuntimeError(f"Expected hidden[1] size {tuple(h.shape)}, got {tuple(c.shape)}")
        # Comparing makes the host wait for a device, so on devices other than the CPU only the first call compares.
        if c is h or self.warned or h.is_meta or not is_eager():
            return h
        same = torch.equal(h, c)
        self.warned = not same or h.device.type != "cpu"
        if not same:
            warnings.warn("MinLSTM has no cell state: c_0 differs from h_0 and is ignored", stacklevel=3)
        return h
