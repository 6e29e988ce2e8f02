# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The optimisation loop of train_lm.py: rows of tokens in, weights, checkpoints and a history of losses out."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from training.common.checkpoint import checkpoints, save_checkpoint
from training.common.errors import CheckpointError
from training.common.schedule import learning_rate_factor
from training.common.stop_request import StopRequest
from training.lm.batches import positions
from training.lm.data import Data
from training.lm.distributed import load_whole_state, shard, whole_state
from training.lm.evaluation import quick_bits_per_byte
from training.lm.model_setup import build_optimizer
from training.lm.options import NOT_ABOUT_TRAINING, how_to_resume
from training.lm.progress import Progress
from training.lm.stateful import CarriedStates
from training.lm.throughput import flops_per_token, measure_peak_flops

BAD_STEPS_ALLOWED = 10  # in a row


@dataclass
class TrainingState:
    """Everything about the run that is neither weights nor optimizer."""

    step: int = 0
    elapsed: float = 0.0  # seconds spent in optimisation steps, over all resumptions
    skipped: int = 0  # steps left out because their loss or gradient wasn't finite
    tokens: int = 0  # seen, over all processes
    started: str = ""  # time of the first step, UTC
    losses: list[float] = field(default_factory=list)  # nats per token, one per step; nan where skipped
    seconds: list[float] = field(default_factory=list)  # `elapsed` after each step
    evaluations: list[list[float]] = field(default_factory=list)  # [elapsed, held-out bits per byte, estimated]
    changed: list[list] = field(default_factory=list)  # [step from which on, which argument, in words], when resumed

    def progress(self, args: argparse.Namespace) -> float:
        """Share of the budget that is spent; 1 and above: done."""
        return self.step / args.steps if args.steps else self.elapsed / (60 * args.minutes)


def run_arguments(args: argparse.Namespace, data: Data, processes: int) -> dict:
    """What a checkpoint remembers in order to refuse another run's arguments."""
    about = {name: value for name, value in vars(args).items() if name not in NOT_ABOUT_TRAINING}
    rows = {"rows per step": args.batch_size * args.accumulate * processes}
    stream = {"stream": args.dataset} if args.streaming else {}
    # Earlier checkpoints lack this entry: their tokenizer pads with the end of text, and a resumed run keeps it.
    padding = {"padding token": True} if data.padding else {}
    return {**about, **rows, **stream, **padding, "training text": data.fingerprint[:16]}


class Trainer:
    """Trains a model, alone or as one of several processes, from the start or from a checkpoint."""

    def __init__(self, args: argparse.Namespace, accelerator: Accelerator, data: Data, model, saved: dict | None):
        self.args, self.accelerator, self.data, self.resumed = args, accelerator, data, saved is not None
        self.folder = Path(args.output_dir)
        self.state = (
            TrainingState(**saved["state"])
            if saved
            else TrainingState(started=datetime.now(UTC).isoformat(timespec="seconds"))
        )
        self.rows = args.batch_size * args.accumulate  # of this process, in a step
        self.batches = data.batches(args, self.rows * accelerator.num_processes)
        self.carried = CarriedStates(model.config, args.accumulate) if args.batching == "stateful" else None
        # Where a row holds several documents, their separators say where one begins.
        self.separator = None if args.batching == "windows" else data.tokenizer.eos_token_id
        self.flops = flops_per_token(model)
        if args.gradient_checkpointing:
            # The name that it has from transformers 5.23 on; before, the other one.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        if args.fsdp:
            shard(model, accelerator)
        self.bare, self.bare_optimizer = model, build_optimizer(model, args)
        if saved:
            load_whole_state(model, self.bare_optimizer, saved)
            self.batches.load_state_dict(saved["batches"])
            if self.carried:
                self.carried.scatter(saved["carried"], accelerator)
        if args.compile:
            model = torch.compile(model)
        self.model = model if args.fsdp else accelerator.prepare(model)
        self.optimizer = accelerator.prepare(self.bare_optimizer)
        dtype = torch.bfloat16 if args.bf16 else torch.float32
        self.peak = 1e12 * args.peak_tflops if args.peak_tflops else measure_peak_flops(accelerator.device, dtype)

    @property
    def utilisation(self) -> float:
        """Model FLOPs utilisation of the run so far, see throughput.py."""
        devices = self.accelerator.num_processes
        return self.flops * self.state.tokens / max(self.state.elapsed, 1e-9) / (devices * self.peak)

    def save(self) -> None:
        """Writes a checkpoint; to be called by all processes. No random state is in it, for every step seeds itself.

        Raises:
            CheckpointError: It could not be written.
        """
        payload = {
            **whole_state(self.bare, self.bare_optimizer),
            "carried": self.carried and self.carried.gathered(self.accelerator),
        }
        if not self.accelerator.is_main_process:
            return
        payload |= {
            "state": asdict(self.state),
            "batches": self.batches.state_dict(),
            "args": run_arguments(self.args, self.data, self.accelerator.num_processes),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.folder, self.state.step, payload, self.args.keep)

    def step(self, rate: float) -> tuple[float, bool]:
        """One optimisation step. Returns the loss in nats per token, averaged over this process's micro-batches,
        and whether the gradient was finite; where it wasn't, weights, optimizer and carried states are left as they were.
        """
        args, accelerator = self.args, self.accelerator
        rank = accelerator.process_index
        mine = self.batches.next(self.state.step)[rank * self.rows : (rank + 1) * self.rows]
        # Dropout too is a function of (seed, step, process): a resumed run needs no generator state to repeat it.
        torch.manual_seed(int(np.random.SeedSequence((args.seed, self.state.step, rank)).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, finite, caches = torch.zeros((), device=accelerator.device), True, []
        for number in range(args.accumulate):
            with accelerator.accumulate(self.model):
                if args.fsdp:
                    self.model.set_requires_gradient_sync(accelerator.sync_gradients)
                inputs = self._inputs(mine[number * args.batch_size : (number + 1) * args.batch_size], number)
                with accelerator.autocast():
                    loss = self.model(**inputs).loss
                accelerator.backward(loss)
                caches.append(inputs.get("past_key_values"))
                total += loss.detach() / args.accumulate
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), args.grad_clip)
                    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
                    # A loss that isn't finite makes the norm so too, and the norm is the same on every process.
                    finite = bool(torch.isfinite(norm))
                    if finite:
                        self.optimizer.step()
                    self.optimizer.zero_grad()
        if self.carried and finite:
            self.carried.keep(caches)
        return total.item(), finite

    def _inputs(self, rows: np.ndarray, number: int) -> dict:
        """Arguments of the model for the rows of micro-batch `number`."""

        def tensor(x):
            return torch.from_numpy(x).to(self.accelerator.device)

        inputs, targets = tensor(rows[:, :-1]), tensor(rows[:, 1:]).contiguous()
        # shift_labels: the targets are shifted already, so that every one of the inputs has one.
        inputs = {
            "input_ids": inputs,
            "labels": targets,
            "shift_labels": targets,
            "use_cache": self.carried is not None,
        }
        if self.carried:
            inputs["past_key_values"] = self.carried.cache(number)
            inputs["resets"] = tensor(rows[:, :-1] == self.separator)
        elif self.separator is not None:
            inputs["position_ids"] = tensor(positions(rows[:, :-1] == self.separator))
        return inputs

    def agree(self, loss: float, elapsed: float, finite: bool, stop: int, save: bool) -> tuple:
        """Mean loss, the main process's clock, whether nobody saw a bad value, any signal, and whether it is time to save."""
        if self.accelerator.num_processes == 1:
            return loss, elapsed, finite, stop, save
        mine = torch.tensor(
            [[loss, elapsed, not finite, stop, save]], dtype=torch.float64, device=self.accelerator.device
        )
        everyone = self.accelerator.gather(mine)
        mean, clock, due = everyone[:, 0].mean().item(), everyone[0, 1].item(), bool(everyone[0, 4])
        return mean, clock, not bool(everyone[:, 2].any()), int(everyone[:, 3].max()), due

    def run(self) -> None:
        """Trains until the budget is spent.

        Raises:
            SystemExit: A signal asked for it (after a checkpoint), a checkpoint could not be written, or the loss stayed
                not finite.
        """
        try:
            with StopRequest() as request:
                self._run(request)
        except CheckpointError as error:
            how = (
                f"go on with {how_to_resume(self.args)}" if checkpoints(self.folder) else "give the same command again"
            )
            raise SystemExit(f"stopped at step {self.state.step}: {error}. Make room, then {how}") from error

    def _run(self, request: StopRequest) -> None:
        args, state, main = self.args, self.state, self.accelerator.is_main_process
        if not self.resumed:
            self.save()  # so that even the first seconds can be resumed
        saved_at, bad_in_row, mean, mass, duration = time.monotonic(), 0, 0.0, 0.0, 0.0
        tokens_per_step = self.rows * args.sequence_length * self.accelerator.num_processes
        next_evaluation = self._next_evaluation()
        bar = Progress(state.progress(args), enabled=main)
        while (progress := state.progress(args)) < 1:
            start = time.perf_counter()
            self.model.train()
            # The middle of the step, so that neither the first nor the last one runs at the curve's very end.
            middle = (state.step + 0.5) / args.steps if args.steps else progress + duration / (120 * args.minutes)
            factor = learning_rate_factor(
                middle, warmup=args.warmup, schedule=args.schedule, final_ratio=args.final_ratio
            )
            loss, finite = self.step(args.learning_rate * factor)
            due = time.monotonic() - saved_at >= args.checkpoint_every
            duration = time.perf_counter() - start
            loss, duration, finite, stop, due = self.agree(loss, duration, finite, request.signal, due)
            state.step += 1
            state.tokens += tokens_per_step
            state.elapsed += duration
            state.losses.append(loss if finite else float("nan"))
            state.seconds.append(state.elapsed)
            if finite:
                bad_in_row = 0
                mean, mass = 0.98 * mean + 0.02 * loss, 0.98 * mass + 0.02
                smooth, rate = mean / mass, state.tokens / state.elapsed
                bits = self.data.bits_per_byte(smooth)
                bar.update(state.progress(args), state.step, smooth, bits, rate, self.utilisation, state.skipped)
                if args.trackers:
                    self._log(loss=loss, learning_rate=args.learning_rate * factor, tokens_per_second=rate)
            else:
                bad_in_row += 1
                state.skipped += 1
                if bad_in_row >= BAD_STEPS_ALLOWED:
                    bar.close()
                    self._stop_bad(f"the loss or its gradient was not finite {bad_in_row} steps in a row")
            if stop:
                bar.close()
                self.save()
                self.accelerator.print(
                    f"\nstopped after step {state.step}, checkpoint saved: "
                    f"the same command with {how_to_resume(args)} goes on"
                )
                # A launcher ends all processes when the first one exits, so none may before the file is whole.
                self.accelerator.wait_for_everyone()
                raise SystemExit(128 + stop)
            if state.progress(args) >= next_evaluation and state.progress(args) < 1:
                next_evaluation = self._next_evaluation()
                self._evaluate()
            # Not amid bad steps: what made them bad may be in the weights already, and a checkpoint of those would take the
            # place of a good one.
            if due and not bad_in_row and state.progress(args) < 1:  # after the last step a look at them comes first
                self.save()
                saved_at = time.monotonic()
        bar.close()
        # A last step may ruin the weights with a gradient that is finite; no later one would tell.
        if not math.isfinite(quick_bits_per_byte(self.bare, self.data.heldout, self.separator)):
            self._stop_bad(
                f"the loss on the held-out text is not finite after the last {'steps' if bad_in_row else 'step'}"
            )
        self.save()

    def _next_evaluation(self) -> float:
        # A little less than the next multiple, which a step may miss by its rounding.
        every = self.args.eval_every
        return (int(self.state.progress(self.args) / every + 1e-9) + 1) * every - 1e-12

    def _evaluate(self) -> None:
        if not (self.accelerator.is_main_process or self.args.fsdp):  # shards are gathered by all or not at all
            return
        bits = quick_bits_per_byte(self.bare, self.data.heldout, self.separator)
        self.state.evaluations.append([self.state.elapsed, bits])
        if self.args.trackers:
            self._log(heldout_bits_per_byte=bits)

    def _log(self, **values: float) -> None:
        self.accelerator.log(values, step=self.state.step)

    def _stop_bad(self, why: str) -> None:
        args = self.args
        raise SystemExit(
            f"stopped at step {self.state.step}: {why}. {checkpoints(self.folder)[0].name}, from before that, is kept; go on "
            f"with {how_to_resume(args)} and a --learning-rate below {args.learning_rate:g}"
            + (", or without --bf16" if args.bf16 else "")
        )
