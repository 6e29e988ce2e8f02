# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The training loop of train_lm.py: reads rows of tokens, and leaves trained weights, checkpoints and a history of losses."""

from __future__ import annotations

import argparse
import math
import time
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator

from hf_minrnn import MinRNNForCausalLM
from training.common.checkpoint import checkpoints, save_checkpoint
from training.common.errors import CheckpointError, write_remedy
from training.common.schedule import learning_rate_factor
from training.common.stop_request import StopRequest
from training.corpus.names import counted
from training.lm.batches import positions
from training.lm.best_weights import BestWeights
from training.lm.data import Data
from training.lm.distributed import load_whole_state, shard, whole_state, whole_weights
from training.lm.evaluation import quick_bits_per_byte
from training.lm.loss_curve import MovingAverage
from training.lm.model_setup import build_optimizer, config_fields
from training.lm.options import NOT_ABOUT_TRAINING, how_to_resume
from training.lm.progress import Progress
from training.lm.saved_model import tokenizer_files
from training.lm.stateful import CarriedStates
from training.lm.throughput import flops_per_token, measure_peak_flops
from training.lm.training_state import TrainingState

BAD_STEPS_ALLOWED = 10  # in a row
SMOOTHING = 0.98  # weight of the earlier losses in the loss that is shown


class Outcome(NamedTuple):
    """The outcome of a step in one process, or the one that all processes agree on."""

    loss: float  # nats per token
    seconds: float
    finite: bool  # whether the loss and its gradient are finite
    signal: int  # number of the signal that asks the run to stop; 0 for none
    save_due: bool  # whether it is time for a checkpoint


def run_arguments(args: argparse.Namespace, data: Data, processes: int) -> dict:
    """Returns the arguments that a checkpoint stores, to be compared with those of a resumed run."""
    arguments = {name: value for name, value in vars(args).items() if name not in NOT_ABOUT_TRAINING}
    arguments["rows per step"] = args.batch_size * args.accumulate * processes
    if data.stream is not None:
        arguments["stream"] = data.stream.source
    if data.padding:  # missing in earlier checkpoints: their tokenizer pads with the end of text, also when resumed
        arguments["padding token"] = True
    arguments["training text"] = data.fingerprint[:16]
    return arguments


def remedy_for_run(error: Exception, args: argparse.Namespace) -> str:
    """Returns how to correct an error that was raised for a failed write, and how to continue the run then."""
    again = "give the same command again"
    if checkpoints(args.output_dir):
        again = f"continue with {how_to_resume(args)}"
    return f"{write_remedy(error, 'copy the run to another --output-dir')}, then {again}"


class Trainer:
    """Trains a model in one process, or as one of several processes, from the start or from a checkpoint.

    Args:
        data (`Data`): Tokens of the training and the held-out text.
        model (`MinRNNForCausalLM`): With the weights to start from.
        saved (`dict`, *optional*): A checkpoint to resume from.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        accelerator: Accelerator,
        data: Data,
        model: MinRNNForCausalLM,
        saved: dict | None,
    ):
        self.args = args
        self.accelerator = accelerator
        self.data = data
        self.folder = Path(args.output_dir)
        self.resumed = saved is not None
        if saved:
            self.state = TrainingState(**saved["state"])
        else:
            self.state = TrainingState(started=datetime.now(UTC).isoformat(timespec="seconds"))
        self.best = BestWeights(args.keep_weights == "best", saved and saved.get("best"))
        if not accelerator.is_main_process:
            self.best.weights = {}  # the main process has them
        self.rows = args.batch_size * args.accumulate  # per step and process
        self.batches = data.batches(args, self.rows * accelerator.num_processes)
        self.carried = CarriedStates(model.config, args.accumulate) if args.batching == "stateful" else None
        # A row may hold several documents, each after a separator. Windows ignore where documents begin.
        self.separator = None if args.batching == "windows" else data.tokenizer.eos_token_id
        self.flops = flops_per_token(model)
        self.gradient_norm = 0.0  # of the last step, before clipping
        if args.gradient_checkpointing:
            # The method has this name from transformers 5.23 on, and the other one before.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        if args.fsdp:
            shard(model, accelerator)
        self.about = {"config": config_fields(model.config), "tokenizer": tokenizer_files(data.tokenizer)}
        self.bare = model  # without the wrappers of torch.compile and Accelerate
        self.bare_optimizer = build_optimizer(model, args)
        if saved:
            load_whole_state(model, self.bare_optimizer, saved)
            self.batches.load_state_dict(saved["batches"])
            if self.carried:
                self.carried.scatter(saved["carried"], accelerator)
        if args.compile:
            model = torch.compile(model)
        self.model = model if args.fsdp else accelerator.prepare(model)
        self.optimizer = accelerator.prepare(self.bare_optimizer)
        if args.peak_tflops:
            self.peak = 1e12 * args.peak_tflops
        else:
            self.peak = measure_peak_flops(accelerator.device, torch.bfloat16 if args.bf16 else torch.float32)

    @property
    def utilisation(self) -> float:
        """Model FLOPs utilisation of the run so far, see `training.lm.throughput`."""
        devices = self.accelerator.num_processes
        return self.flops * self.state.tokens / max(self.state.elapsed, 1e-9) / (devices * self.peak)

    def save(self) -> None:
        """Writes a checkpoint; every process must call it. It holds no random state, because every step seeds itself.

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
            "best": self.best.state_dict(),
            **self.about,
        }
        if self.best.weights and self.best.step == self.state.step:
            payload["best"]["model"] = payload["model"]  # the same values, which the file then contains once
        save_checkpoint(self.folder, self.state.step, payload, self.args.keep)

    def step(self, rate: float) -> tuple[float, bool]:
        """Runs one optimisation step.

        If the gradient is not finite, the weights, the optimizer and the carried states stay as they were.

        Returns:
            The mean loss of this process's micro-batches in nats per token, and whether the gradient was finite.
        """
        args = self.args
        accelerator = self.accelerator
        rank = accelerator.process_index
        rows = self.batches.next(self.state.step)[rank * self.rows : (rank + 1) * self.rows]
        # Dropout is a function of (seed, step, process) too, so a resumed run needs no generator state to repeat it.
        torch.manual_seed(int(np.random.SeedSequence((args.seed, self.state.step, rank)).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=accelerator.device)
        finite = True
        caches = []
        for number in range(args.accumulate):
            with accelerator.accumulate(self.model):
                if args.fsdp:
                    self.model.set_requires_gradient_sync(accelerator.sync_gradients)
                inputs = self._inputs(rows[number * args.batch_size : (number + 1) * args.batch_size], number)
                with accelerator.autocast():
                    loss = self.model(**inputs).loss
                accelerator.backward(loss)
                caches.append(inputs.get("past_key_values"))
                total += loss.detach() / args.accumulate
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), args.grad_clip)
                    if hasattr(norm, "full_tensor"):
                        norm = norm.full_tensor()
                    self.gradient_norm = norm.item()
                    # A loss that is not finite makes the norm not finite, and the norm is the same in every process.
                    finite = math.isfinite(self.gradient_norm)
                    if finite:
                        self.optimizer.step()
                    self.optimizer.zero_grad()
        if self.carried and finite:
            self.carried.keep(caches)
        return total.item(), finite

    def _inputs(self, rows: np.ndarray, number: int) -> dict:
        """Returns the arguments of the model for the rows of micro-batch `number`."""

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(self.accelerator.device)

        targets = tensor(rows[:, 1:]).contiguous()
        inputs = {
            "input_ids": tensor(rows[:, :-1]),
            "labels": targets,
            "shift_labels": targets,  # the targets are shifted already: the last input has one too
            "use_cache": self.carried is not None,
        }
        if self.separator is None:
            return inputs
        resets = rows[:, :-1] == self.separator
        if self.carried:
            inputs["past_key_values"] = self.carried.cache(number)
            inputs["resets"] = tensor(resets)
        else:
            inputs["position_ids"] = tensor(positions(resets))
        return inputs

    def agree(self, mine: Outcome) -> Outcome:
        """Returns the outcome of a step for all processes.

        The loss is the mean, the time and the due checkpoint are the main process's, a value that is not finite or a signal
        in one process counts for all.
        """
        if self.accelerator.num_processes == 1:
            return mine
        row = [mine.loss, mine.seconds, not mine.finite, mine.signal, mine.save_due]
        rows = self.accelerator.gather(torch.tensor([row], dtype=torch.float64, device=self.accelerator.device))
        return Outcome(
            loss=rows[:, 0].mean().item(),
            seconds=rows[0, 1].item(),
            finite=not bool(rows[:, 2].any()),
            signal=int(rows[:, 3].max()),
            save_due=bool(rows[0, 4]),
        )

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
            remedy = remedy_for_run(error, self.args)
            raise SystemExit(f"stopped at step {self.state.step}: {error}; {remedy}") from error

    def _run(self, request: StopRequest) -> None:
        if not self.resumed:
            self.save()  # so that a run stopped in its first seconds can be resumed
        bar = Progress(self.state.progress(self.args), enabled=self.accelerator.is_main_process)
        with closing(bar):  # whatever ends the run, its message begins on a line of its own
            bad_in_row = self._train(request, bar)
        self._end("steps" if bad_in_row else "step")
        signal = self.agree(Outcome(0.0, 0.0, True, request.signal, False)).signal
        if signal:  # it came after the last step
            self._stop_on_signal(signal)

    def _train(self, request: StopRequest, bar: Progress) -> int:
        """Takes steps until the run is done. Returns how many of the last ones in a row were not finite."""
        args = self.args
        state = self.state
        saved_at = time.monotonic()
        last_seconds = 0.0
        bad_in_row = 0
        average = MovingAverage(SMOOTHING)
        next_evaluation = self._next_evaluation()
        while not state.done(args):
            start = time.perf_counter()
            self.model.train()
            rate = self._learning_rate(last_seconds)
            loss, finite = self.step(rate)
            save_due = time.monotonic() - saved_at >= args.checkpoint_every
            outcome = self.agree(Outcome(loss, time.perf_counter() - start, finite, request.signal, save_due))
            last_seconds = outcome.seconds
            self._record(outcome)
            if outcome.finite:
                bad_in_row = 0
                self._show(bar, average.add(outcome.loss))
                if args.trackers:
                    self._log(
                        loss=outcome.loss,
                        learning_rate=rate,
                        gradient_norm=self.gradient_norm,
                        tokens_per_second=state.tokens / state.elapsed,
                    )
            else:
                bad_in_row += 1
                if bad_in_row >= BAD_STEPS_ALLOWED:
                    self._stop_diverged(f"the loss or its gradient was not finite {bad_in_row} steps in a row")
            if next_evaluation <= state.progress(args) < 1:
                next_evaluation = self._next_evaluation()
                self._evaluate()
            if outcome.signal:  # after the evaluation, which a resumed run does not repeat
                self.save()
                bar.close()
                self._stop_on_signal(outcome.signal)
            # Not between bad steps: their cause may already be in the weights, and this checkpoint would replace a good one.
            # After the last step the weights are checked first.
            if outcome.save_due and not bad_in_row and not state.done(args):
                self.save()
                saved_at = time.monotonic()
        return bad_in_row

    def _end(self, last_steps: str) -> None:
        """Evaluates the weights of the last step, and saves them."""
        state = self.state
        # The last step may ruin the weights with a finite gradient, and no later step would show it.
        state.last_estimate = self._estimate()
        if not math.isfinite(state.last_estimate):
            self._stop_diverged(f"the loss on the held-out text is not finite after the last {last_steps}")
        self._offer(state.last_estimate)
        if self.stopped_early:
            waited = counted(state.waited, "evaluation")
            self.accelerator.print(
                f"stopped early at step {state.step:,}: {waited} in a row without a lower held-out estimate; "
                f"to train on, continue with {how_to_resume(self.args)} and a larger --patience, or without it"
            )
        self.save()

    @property
    def stopped_early(self) -> bool:
        """Whether the run ended before its budget was spent."""
        return self.state.progress(self.args) < 1

    @property
    def keeps_best(self) -> bool:
        """Whether the model of the run has other weights than those of the last step."""
        return self.best.keep and self.best.step != self.state.step

    def kept(self) -> dict:
        """Returns which weights the model of the finished run has, for results.json."""
        state = self.state
        step = state.step
        estimate = state.last_estimate
        if self.keeps_best:
            step = self.best.step
            estimate = self.best.bits
        in_unit = self.data.heldout_in_unit
        return {
            "weights": self.args.keep_weights,
            "step": step,
            f"heldout_{self.data.unit.replace(' ', '_')}_estimate": in_unit(estimate),
            "last_step": state.step,
            "last_estimate": in_unit(state.last_estimate),
            "best_step": self.best.step,
            "best_estimate": in_unit(self.best.bits),
            "stopped_early": self.stopped_early,
        }

    def _learning_rate(self, last_seconds: float) -> float:
        """Returns the learning rate of the next step, which is expected to take as long as the last one."""
        args = self.args
        # The middle of the step, so that neither the first nor the last one runs at the very end of the curve.
        if args.steps:
            middle = (self.state.step + 0.5) / args.steps
        else:
            middle = self.state.progress(args) + last_seconds / (120 * args.minutes)
        return args.learning_rate * learning_rate_factor(
            middle, warmup=args.warmup, schedule=args.schedule, final_ratio=args.final_ratio
        )

    def _record(self, outcome: Outcome) -> None:
        state = self.state
        state.step += 1
        state.tokens += self.rows * self.args.sequence_length * self.accelerator.num_processes
        state.elapsed += outcome.seconds
        state.losses.append(outcome.loss if outcome.finite else float("nan"))
        state.seconds.append(state.elapsed)
        if not outcome.finite:
            state.skipped += 1

    def _show(self, bar: Progress, loss: float) -> None:
        state = self.state
        bits = self.data.bits_per_byte(loss)
        heldout = None
        if state.evaluations and bits is not None:
            heldout = state.evaluations[-1][1]
        bar.update(
            state.progress(self.args),
            state.step,
            loss,
            bits,
            state.tokens / state.elapsed,
            self.utilisation,
            state.skipped,
            heldout,
        )

    def _next_evaluation(self) -> float:
        """Returns the progress at which the next evaluation is due."""
        # A little less than the next multiple, because the rounding of a step may miss it.
        every = self.args.eval_every
        return (int(self.state.progress(self.args) / every + 1e-9) + 1) * every - 1e-12

    def _evaluate(self) -> None:
        bits = self._estimate()
        self.state.evaluations.append([self.state.elapsed, bits])
        if self._offer(bits):
            self.state.waited = 0
        else:
            self.state.waited += 1
        if self.args.trackers:
            self._log(**{f"heldout_{self.data.unit.replace(' ', '_')}": self.data.heldout_in_unit(bits)})

    def _estimate(self) -> float:
        """Returns the estimated bits per byte of the held-out text. Every process gets the main process's result."""
        bits = float("nan")
        if self.accelerator.is_main_process or self.args.fsdp:  # all processes must take part in gathering shards
            bits = quick_bits_per_byte(self.bare, self.data.heldout, self.separator)
        if self.accelerator.num_processes == 1:
            return bits
        row = torch.tensor([bits], dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.gather(row)[0].item()

    def _offer(self, bits: float) -> bool:
        def weights() -> dict[str, torch.Tensor]:
            if self.accelerator.is_main_process or self.args.fsdp:
                return whole_weights(self.bare, self.accelerator.device)
            return {}

        return self.best.offer(self.state.step, bits, weights)

    def _log(self, **values: float) -> None:
        self.accelerator.log(values, step=self.state.step)

    def _stop_on_signal(self, signal: int) -> None:
        """Ends the process after its checkpoint was saved."""
        self.accelerator.print(
            f"\nstopped after step {self.state.step}, checkpoint saved: "
            f"continue with the same command and {how_to_resume(self.args)}"
        )
        # A launcher ends all processes when the first one exits, so none may exit before the file is complete.
        self.accelerator.wait_for_everyone()
        raise SystemExit(128 + signal)

    def _stop_diverged(self, reason: str) -> None:
        args = self.args
        other = ", or without --bf16" if args.bf16 else ""
        raise SystemExit(
            f"stopped at step {self.state.step}: {reason}. The earlier {checkpoints(self.folder)[0].name} is kept; continue "
            f"with {how_to_resume(args)} and a --learning-rate below {args.learning_rate:g}{other}"
        )
