# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Train a minGRU or minLSTM language model and compare it with gzip, xz and a 5-gram.

    python training/train_lm.py                                    # Python's standard library, five minutes, a CPU
    python training/train_lm.py --dataset shakespeare.txt --tokenizer chars --steps 1000
    torchrun --nproc_per_node 4 training/train_lm.py --bf16 --minutes 30
    python training/train_lm.py --resume                           # after a crash, a kill or Ctrl-C

The output folder is a model that `pipeline("text-generation", model=folder)` loads, with results.json, loss.png
and samples.txt beside it. With --steps a run is reproducible and a resumed one equals an uninterrupted one; with
--minutes the clock decides where the learning rate is, so it's only nearly so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

# Threads that wait for each other must not spin: on a machine that also does other work, a spinning thread keeps the core
# from the one it waits for, and single steps were seen to take 30 times longer. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch
from accelerate import Accelerator
from checkpoint import check_same_run, load_checkpoint, save_checkpoint
from corpus import Corpus, InputError, load_corpus
from evaluation import quick_bits_per_byte
from finish import OUTPUT_FILES, finish_run
from model_setup import build_model, build_optimizer
from options import FREE_TO_CHANGE, NOT_ABOUT_TRAINING, parse_arguments
from report import Progress, amount
from schedule import learning_rate_factor
from tokenization import TokenStream, build_tokenizer, encode_documents
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

BAD_STEPS_ALLOWED = 10  # in a row


@dataclass
class Data:
    """A corpus, its tokenizer, both splits as tokens, and the seconds each took."""

    corpus: Corpus
    tokenizer: PreTrainedTokenizerFast
    train: TokenStream
    heldout: TokenStream
    load_seconds: float
    tokenizer_seconds: float
    encode_seconds: float

    @property
    def fingerprint(self) -> str:
        """Changes when any token of either split does."""
        return hashlib.sha256(self.train.ids.tobytes() + self.heldout.ids.tobytes()).hexdigest()

    def bits_per_byte(self, loss: float) -> float:
        """A training loss (nats per token) in bits per byte of the training documents."""
        return self.train.bits_per_byte(loss * len(self.train.ids))


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

    def progress(self, args: argparse.Namespace) -> float:
        """Share of the budget that is spent; 1 and above: done."""
        return self.step / args.steps if args.steps else self.elapsed / (60 * args.minutes)


def load_data(args: argparse.Namespace) -> Data:
    """Reads, tokenizes and checks the data.

    Raises:
        InputError: The data cannot be used, or one split is shorter than a window.
    """
    start = time.perf_counter()
    corpus = load_corpus(args.dataset, args.text_column)
    loaded = time.perf_counter()
    tokenizer = build_tokenizer(args.tokenizer, corpus.train, args.vocab_size)
    built = time.perf_counter()
    train = encode_documents(tokenizer, corpus.train)
    heldout = encode_documents(tokenizer, corpus.heldout)
    if len(train.ids) <= args.sequence_length:
        raise InputError(
            f"--sequence-length {args.sequence_length} is longer than the training text of {len(train.ids)} tokens: "
            f"give at most {len(train.ids) - 1}, or more text"
        )
    return Data(corpus, tokenizer, train, heldout, loaded - start, built - loaded, time.perf_counter() - built)


def draw_windows(tokens: np.ndarray, length: int, rows: int, seed: int, step: int) -> np.ndarray:
    """Random windows of the token stream: a pure function of its arguments, so resuming needs no sampler state.

    Returns:
        `np.ndarray` of shape `(rows, length + 1)`, int64: `length` inputs, and the same shifted by one as targets.
    """
    starts = np.random.default_rng((seed, step)).integers(0, len(tokens) - length, size=rows)
    return tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)


def open_folder(args: argparse.Namespace) -> tuple[Path, dict | None]:
    """The output folder and, when resuming, its checkpoint.

    Raises:
        InputError: The folder holds files and neither --resume nor --overwrite is given, or there is nothing to resume.
    """
    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output-dir {folder} is a file: give a folder")
    if args.resume:
        return folder, load_checkpoint(folder)
    # A first checkpoint that was never finished is nothing to go on from, and nothing to lose.
    if folder.is_dir() and any(path.suffix != ".partial" for path in folder.iterdir()) and not args.overwrite:
        raise InputError(
            f"{folder} is not empty: go on with --resume, start anew with --overwrite, or change --output-dir"
        )
    return folder, None


def run_arguments(args: argparse.Namespace, data: Data, processes: int) -> dict:
    """What a checkpoint remembers in order to refuse another run's arguments."""
    about = {name: value for name, value in vars(args).items() if name not in NOT_ABOUT_TRAINING}
    return {**about, "processes": processes, "training text": data.fingerprint[:16]}


class StopRequest:
    """Turns the first SIGTERM or Ctrl-C into a flag that the loop reads; the second one acts as usual."""

    def __init__(self):
        self.signal = 0
        self._previous = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.signal = number
        self._restore()

    def _restore(self):
        while self._previous:
            signal.signal(*self._previous.popitem())

    def __exit__(self, *exception):
        self._restore()


class Trainer:
    """The optimisation loop: windows in, weights and a `TrainingState` out."""

    def __init__(self, args: argparse.Namespace, accelerator: Accelerator, data: Data, model, saved: dict | None):
        self.args, self.accelerator, self.data = args, accelerator, data
        self.folder = Path(args.output_dir)
        self.state = (
            TrainingState(**saved["state"])
            if saved
            else TrainingState(started=datetime.now(UTC).isoformat(timespec="seconds"))
        )
        self.bare = model
        optimizer = build_optimizer(model, args)
        if saved:
            model.load_state_dict(saved["model"])
            settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
            optimizer.load_state_dict(saved["optimizer"])
            for group, fresh in zip(optimizer.param_groups, settings, strict=True):
                group.update(fresh)  # today's learning rate, betas and decay, not the checkpoint's
        if args.compile:
            model = torch.compile(model)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)

    def save(self) -> None:
        """Writes the checkpoint; no random state is in it, for every step seeds itself (see `step`)."""
        if not self.accelerator.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            self.folder,
            {
                "model": self.bare.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "state": asdict(self.state),
                "args": run_arguments(self.args, self.data, self.accelerator.num_processes),
            },
        )

    def step(self, rate: float) -> tuple[float, bool]:
        """One optimisation step. Returns the loss in nats per token, averaged over this process's micro-batches,
        and whether the gradient was finite; where it wasn't, weights and optimizer are left as they were."""
        args, accelerator = self.args, self.accelerator
        rank, rows = accelerator.process_index, args.batch_size * args.accumulate
        windows = draw_windows(
            self.data.train.ids, args.sequence_length, rows * accelerator.num_processes, args.seed, self.state.step
        )[rank * rows : (rank + 1) * rows]
        windows = torch.from_numpy(windows).to(accelerator.device)
        # Dropout too is a function of (seed, step, process): a resumed run needs no generator state to repeat it.
        torch.manual_seed(int(np.random.SeedSequence((args.seed, self.state.step, rank)).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, finite = torch.zeros((), device=accelerator.device), True
        for batch in windows.split(args.batch_size):
            with accelerator.accumulate(self.model):
                inputs, targets = batch[:, :-1], batch[:, 1:].contiguous()
                # shift_labels: the targets are shifted already, so that every one of the inputs has one.
                loss = self.model(input_ids=inputs, labels=targets, shift_labels=targets, use_cache=False).loss
                accelerator.backward(loss)
                total += loss.detach() / args.accumulate
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), args.grad_clip)
                    # A loss that isn't finite makes the norm so too, and the norm is the same on every process.
                    finite = bool(torch.isfinite(norm))
                    if finite:
                        self.optimizer.step()
                    self.optimizer.zero_grad()
        return total.item(), finite

    def agree(self, loss: float, elapsed: float, finite: bool, stop: int) -> tuple[float, float, bool, int]:
        """Mean loss, the main process's clock, and whether anyone saw a bad value or a signal."""
        if self.accelerator.num_processes == 1:
            return loss, elapsed, finite, stop
        mine = torch.tensor([[loss, elapsed, not finite, stop]], dtype=torch.float32, device=self.accelerator.device)
        everyone = self.accelerator.gather(mine)
        return (
            everyone[:, 0].mean().item(),
            everyone[0, 1].item(),
            not bool(everyone[:, 2].any()),
            int(everyone[:, 3].max()),
        )

    def run(self) -> None:
        """Trains until the budget is spent.

        Raises:
            SystemExit: A signal asked for it (after a checkpoint), or the loss stayed not finite.
        """
        args, state, main = self.args, self.state, self.accelerator.is_main_process
        self.save()  # so that even the first seconds can be resumed
        saved_at, bad_in_row, mean, mass = time.monotonic(), 0, 0.0, 0.0
        tokens_per_step = args.batch_size * args.accumulate * args.sequence_length * self.accelerator.num_processes
        next_evaluation = (int(state.progress(args) / args.eval_every) + 1) * args.eval_every
        bar = Progress(state.progress(args), enabled=main)
        duration = 0.0
        with StopRequest() as request:
            while (progress := state.progress(args)) < 1:
                start = time.perf_counter()
                self.model.train()
                # The middle of the step, so that neither the first nor the last one runs at the curve's very end.
                middle = (state.step + 0.5) / args.steps if args.steps else progress + duration / (120 * args.minutes)
                factor = learning_rate_factor(
                    middle, warmup=args.warmup, schedule=args.schedule, final_ratio=args.final_ratio
                )
                loss, finite = self.step(args.learning_rate * factor)
                loss, duration, finite, stop = self.agree(loss, time.perf_counter() - start, finite, request.signal)
                state.step += 1
                state.tokens += tokens_per_step
                state.elapsed += duration
                state.losses.append(loss if finite else float("nan"))
                state.seconds.append(state.elapsed)
                if finite:
                    bad_in_row = 0
                    mean, mass = 0.98 * mean + 0.02 * loss, 0.98 * mass + 0.02
                    smooth = mean / mass
                    rate = state.tokens / state.elapsed
                    bar.update(state.progress(args), state.step, smooth, self.data.bits_per_byte(smooth), rate)
                else:
                    bad_in_row += 1
                    state.skipped += 1
                    if bad_in_row == BAD_STEPS_ALLOWED:
                        bar.close()
                        self.save()
                        self.accelerator.wait_for_everyone()  # see below
                        raise SystemExit(
                            f"stopped at step {state.step}: the loss or its gradient was not finite {bad_in_row} steps "
                            f"in a row. The weights before that are saved; go on with --resume and a "
                            f"--learning-rate below {args.learning_rate:g}"
                            + (", or without --bf16" if args.bf16 else "")
                        )
                if stop:
                    bar.close()
                    self.save()
                    if main:
                        print(
                            f"\nstopped after step {state.step}, checkpoint saved: the same command with --resume goes on"
                        )
                    # A launcher ends all processes when the first one exits, so none may before the file is whole.
                    self.accelerator.wait_for_everyone()
                    raise SystemExit(128 + stop)
                if state.progress(args) >= next_evaluation and state.progress(args) < 1:
                    next_evaluation = (int(state.progress(args) / args.eval_every) + 1) * args.eval_every
                    if main:
                        state.evaluations.append([state.elapsed, quick_bits_per_byte(self.bare, self.data.heldout)])
                if time.monotonic() - saved_at >= args.checkpoint_every:
                    self.save()
                    saved_at = time.monotonic()
        bar.close()
        self.save()


def run(args: argparse.Namespace) -> dict[str, float]:
    """Loads, trains, evaluates, saves. Returns the metrics."""
    disable_progress_bar()  # transformers' own bars for saving; ours stays
    accelerator = Accelerator(
        mixed_precision="bf16" if args.bf16 else "no", gradient_accumulation_steps=args.accumulate
    )
    folder, saved = open_folder(args)
    data = load_data(args)
    model = build_model(args, data.tokenizer)
    if saved:
        current = run_arguments(args, data, accelerator.num_processes)
        for difference in check_same_run(saved["args"], current, FREE_TO_CHANGE):
            accelerator.print(f"resuming with {difference}")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens = args.batch_size * args.accumulate * args.sequence_length * accelerator.num_processes
    budget = f"{args.steps:,} steps" if args.steps else f"{args.minutes:g} minutes"
    accelerator.print(
        f"data      {data.corpus.name}: {amount(data.train.num_bytes)}B in {len(data.corpus.train)} documents, "
        f"{amount(data.heldout.num_bytes)}B in {len(data.corpus.heldout)} held out\n"
        f"tokens    {args.tokenizer}, vocabulary {len(data.tokenizer):,}: {amount(len(data.train.ids))} to train on, "
        f"{data.train.num_bytes / len(data.train.ids):.2f} bytes each "
        f"({data.tokenizer_seconds + data.encode_seconds:.1f} s to tokenize)\n"
        f"model     {model.config.model_type} {args.cell_type}, {args.num_hidden_layers} layers of {args.hidden_size}: "
        f"{amount(parameters)} parameters, on {accelerator.device}\n"
        f"training  {budget}, {tokens:,} tokens a step" + (f", from step {saved['state']['step']:,}" if saved else "")
    )
    trainer = Trainer(args, accelerator, data, model, saved)
    if args.overwrite and accelerator.is_main_process:
        # An earlier run's model must not pass for this one's, should this one be stopped.
        for name in OUTPUT_FILES:
            (folder / name).unlink(missing_ok=True)
    trainer.run()
    accelerator.wait_for_everyone()
    # Autocast was wrapped around forward by prepare; what is measured and saved is the plain float32 model.
    model = accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False, keep_torch_compile=False)
    metrics = finish_run(args, data, model, trainer.state, folder) if accelerator.is_main_process else {}
    accelerator.wait_for_everyone()
    return metrics


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Runs the command line; returns the metrics that results.json holds (empty on all but the main process).

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy; or the run was stopped.
    """
    try:
        return run(parse_arguments(argv))
    except InputError as error:
        raise SystemExit(f"train_lm.py: {error}") from None


if __name__ == "__main__":
    main()
