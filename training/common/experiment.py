# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains one model on one task: the same loop, evaluation, early stop and checkpoints for every model and every task.

A run is a function of its `Recipe`, the model and the seed. On a CPU a run that was stopped and resumed has the losses of
one that was not, bit by bit: batches and dropout are functions of the seed and the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hf_minrnn.cells import MinRNNCell
from training.common.checkpoint import check_same_run, checkpoints, load_checkpoint, save_checkpoint
from training.common.graphs import GraphedSteps
from training.common.schedule import learning_rate_factor
from training.common.stop_request import StopRequest
from training.common.text import clock
from training.common.widths import count


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, the same for all models of a comparison.

    Args:
        steps (`int`): At most.
        batch_size (`int`): Rows in a step.
        lengths (`tuple[int, int]`): Shortest and longest length that a step's batch is drawn with.
        rate (`float`): Learning rate of AdamW, at its peak.
        weight_decay (`float`): Of weight matrices, see `optimizer_groups`.
        clip (`float`): Largest norm of the gradient.
        warmup (`int`): Steps of a linear rise of the rate.
        schedule (`str`): "constant" after that, or "cosine" down to a twentieth.
        every (`int`): Steps between two evaluations on the validation part.
        metric (`str`): "accuracy" or "loss": what decides which state is the best.
        solved (`float`): Accuracy on the validation part at which a run ends; more than 1 for never.
        patience (`int`): Evaluations without progress at which a run ends; 0 for never.
        bf16 (`bool`): Autocast to bfloat16.
    """

    steps: int
    batch_size: int
    lengths: tuple[int, int]
    rate: float = 3e-4
    weight_decay: float = 0.05
    clip: float = 1.0
    warmup: int = 0
    schedule: str = "constant"
    every: int = 100
    metric: str = "accuracy"
    solved: float = 2.0
    patience: int = 0
    bf16: bool = False

    def factor(self, step: int) -> float:
        """The learning rate of a step, counted from 0, over its peak.

        >>> recipe = Recipe(steps=100, batch_size=1, lengths=(1, 1), warmup=4)
        >>> [recipe.factor(step) for step in (0, 1, 3, 99)]
        [0.25, 0.5, 1.0, 1.0]
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "constant":
            return 1.0
        share = (step + 0.5 - self.warmup) / max(self.steps - self.warmup, 1)
        return learning_rate_factor(share, warmup=0.0, schedule=self.schedule)


def optimizer_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """AdamW's two groups: weight matrices decay; embeddings, vectors, decays, and what makes the gates of ours, of GRU and of
    LSTM do not.

    >>> [len(group["params"]) for group in optimizer_groups(nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2)), 0.1)]
    [1, 2]
    """
    free = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    free |= {id(cell.in_proj.weight) for cell in model.modules() if isinstance(cell, MinRNNCell)}
    free |= {id(weight) for layer in model.modules() if isinstance(layer, nn.RNNBase) for weight in layer.parameters()}
    groups = {True: [], False: []}
    for name, weight in model.named_parameters():
        # Vectors of RWKV-7 come as (1, 1, width); HGRN's lower bounds of all layers are one matrix.
        matrix = (weight.ndim == 2 or weight.squeeze().ndim >= 2) and not name.endswith(
            ("A_log", "lower_bounds", "r_k")
        )
        decays = matrix and id(weight) not in free
        groups[decays].append(weight)
    kinds = {True: weight_decay, False: 0.0}
    return [{"params": weights, "weight_decay": kinds[decays]} for decays, weights in groups.items() if weights]


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], bf16: bool = False) -> dict:
    """Loss and accuracy over all labels of the batches.

    Args:
        model: Token ids `(batch, time)` to logits.
        batches: Pairs of ids and labels, see tasks.py.
        bf16 (`bool`): Autocast to bfloat16, as in training.

    Returns:
        `loss`, nats per label, and `accuracy`, a share.

    Raises:
        ValueError: Where nothing is scored.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    loss, right, labelled = 0.0, 0, 0
    for ids, labels in batches:
        labels = labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(ids.to(device))
        scored = labels != -100
        logits, labels = logits[scored].float(), labels[scored]
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(-1) == labels).sum())
        labelled += labels.numel()
    model.train(was_training)
    if not labelled:
        raise ValueError("there is not one label to score in these batches")
    return {"loss": loss / labelled, "accuracy": right / labelled}


class Run:
    """One model in training.

    Args:
        model (`nn.Module`): Token ids to logits, see comparators.py; trained in place.
        task: See tasks.py.
        recipe (`Recipe`): How.
        seed (`int`): Of the batches and of dropout.
        validation: A function without arguments that returns the batches to evaluate on, always the same ones.
        folder (`Path`, *optional*): Where checkpoints are kept while the run goes on; what lies there is gone on with.
        title (`str`): What progress is printed under.
        checkpoint_every (`float`): Seconds between two checkpoints.
        about (`dict`, *optional*): What the run hangs on besides recipe, seed and task, as JSON has it: a checkpoint of a run
            with anything else is refused.

    Raises:
        InputError: In `folder` lies a checkpoint of another run.
    """

    def __init__(
        self,
        model,
        task,
        recipe: Recipe,
        seed: int,
        validation: Callable,
        folder=None,
        title="",
        checkpoint_every=60.0,
        about=None,
    ):
        self.model, self.task, self.recipe, self.seed, self.validation = model, task, recipe, seed, validation
        self.folder, self.title, self.checkpoint_every = folder and Path(folder), title, checkpoint_every
        self.about = about or {}
        self.device = next(model.parameters()).device
        graphs = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            optimizer_groups(model, recipe.weight_decay), lr=recipe.rate, fused=True, capturable=graphs
        )
        self.rate = torch.tensor(recipe.rate, device=self.device) if graphs else None  # read by recorded steps
        self._update = GraphedSteps(self._forward_backward) if graphs else self._forward_backward
        self.step, self.seconds, self.diverged = 0, 0.0, False
        self.upcoming: tuple[int, torch.Tensor, torch.Tensor] | None = None  # the next step's batch
        self.losses: list[float] = []
        self.curve: list[dict] = []  # an entry for each evaluation
        self.best: dict | None = None  # the best one of them
        self.best_weights: dict | None = None
        if self.folder and checkpoints(self.folder):
            self._resume()

    def _about(self) -> dict:
        recipe = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.recipe).items()
        }
        return {**self.about, **recipe, "seed": self.seed, "task": self.task.name, "parameters": count(self.model)}

    def _resume(self) -> None:
        anew = f"delete {self.folder} to start anew"
        saved = load_checkpoint(self.folder, anew)
        check_same_run(saved["about"], self._about(), set(), anew)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for name, value in saved["run"].items():
            setattr(self, name, value)

    def save(self) -> None:
        """Writes a checkpoint, in one motion, and deletes the one before.

        Raises:
            CheckpointError: It could not be written.
        """
        names = ("step", "seconds", "diverged", "losses", "curve", "best", "best_weights")
        payload = {
            "about": self._about(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "run": {name: getattr(self, name) for name in names},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.folder, self.step, payload, keep=1)

    def _batch(self, step: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.seed, step))
        dropout_seed = int(rng.integers(2**63))
        length = int(rng.integers(self.recipe.lengths[0], self.recipe.lengths[1] + 1))
        return dropout_seed, *self.task.batch([self.seed, step], self.recipe.batch_size, length)

    def _train_step(self) -> float:
        dropout_seed, ids, labels = self.upcoming or self._batch(self.step)
        torch.manual_seed(dropout_seed)
        rate = self.recipe.rate * self.recipe.factor(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate if self.rate is None else self.rate.fill_(rate)
        found = self._update(ids, labels)
        self.upcoming = self._batch(self.step + 1)  # while a GPU is at work
        loss, norm = found.tolist()
        self.diverged = not math.isfinite(norm)
        return loss

    def _forward_backward(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One step: loss and norm of the gradient. Where the latter is no number, the weights stay as they are."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            logits = self.model(ids)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        # The optimizer's own way to skip a step, as torch's GradScaler uses it: nobody need look at the number.
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()
        self.optimizer.step()
        return torch.stack([loss.detach().float(), norm.float()])

    def _better(self, entry: dict) -> bool:
        if self.best is None:
            return True
        now, before = entry[self.recipe.metric], self.best[self.recipe.metric]
        return now < before if self.recipe.metric == "loss" else now > before

    def _evaluate(self) -> None:
        # A step with a finite gradient may ruin the weights all the same: what they say then is no evaluation.
        recent = self.losses[-self.recipe.every :]
        entry = {
            "step": self.step,
            "training_loss": sum(recent) / len(recent),
            **evaluate(self.model, self.validation(), self.recipe.bf16),
        }
        if not math.isfinite(entry["loss"]):
            self.diverged = True
            return
        self.curve.append(entry)
        self._show()
        if self._better(entry):
            self.best = entry
            self.best_weights = {name: weight.clone() for name, weight in self.model.state_dict().items()}

    def _finished(self) -> bool:
        recipe = self.recipe
        if self.step >= recipe.steps or self.diverged:
            return True
        if not self.curve or self.curve[-1]["step"] != self.step:
            return False
        stale = (self.step - self.best["step"]) // recipe.every
        return self.curve[-1]["accuracy"] >= recipe.solved or bool(recipe.patience and stale >= recipe.patience)

    def train(self) -> dict:
        """Trains to the end.

        Returns:
            `final` and `best` (the last evaluation and the best one, each with its step), `steps`, `seconds` (of training,
            evaluations excluded), `steps_per_second`, `parameters`, `diverged` (whether a gradient or an evaluation was not
            finite, which ends a run) and the `curve` of evaluations.

        Raises:
            SystemExit: On SIGTERM or Ctrl-C, after a checkpoint.
            CheckpointError: A checkpoint could not be written.
        """
        recipe, saved_at = self.recipe, time.monotonic()
        self.model.train()
        with StopRequest() as request:
            while not self._finished():
                begin = time.perf_counter()
                self.losses.append(self._train_step())
                self.step += 1
                self.seconds += time.perf_counter() - begin
                if self.step % recipe.every == 0 or self.step == recipe.steps:
                    self._evaluate()
                if self.folder and (request.signal or time.monotonic() - saved_at > self.checkpoint_every):
                    self.save()
                    saved_at = time.monotonic()
                if request.signal:
                    raise SystemExit(128 + request.signal)
        return {
            "final": self.curve[-1] if self.curve else None,
            "best": self.best,
            "steps": self.step,
            "seconds": self.seconds,
            "steps_per_second": self.step / self.seconds,
            "parameters": count(self.model),
            "diverged": self.diverged,
            "curve": self.curve,
        }

    def _show(self) -> None:
        entry, rate = self.curve[-1], self.step / self.seconds
        left = clock((self.recipe.steps - self.step) / rate)
        print(
            f"{self.title}: step {self.step:,} of {self.recipe.steps:,}, loss {entry['training_loss']:.3f}, validation "
            f"{entry['loss']:.3f} and {entry['accuracy']:.1%}, {rate:.2f} steps/s, {left} left at most",
            flush=True,
        )

    def test(self, judge: Callable[[nn.Module], dict]) -> dict[str, dict]:
        """What `judge` says of the last state, and of the best one, which the model is left in.

        Where a run diverged before its first evaluation there is no best one, and the last is judged alone.
        """
        found = {"final": judge(self.model)}
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
            found["best"] = found["final"] if self.best["step"] == self.step else judge(self.model)
        return found
