# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains one model: the loop, evaluation, early stop and checkpoints that all experiments share.

`Run` is the loop; it takes the batches, the loss and the evaluation as functions. `run_on_task` makes the run of a model on one
of the paper's tasks. On a CPU a run that was stopped and resumed has the same losses as one that was not, bit by bit, if its
batches and its dropout are functions of the step.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training.common.checkpoint import check_same_run, checkpoints, load_checkpoint, save_checkpoint
from training.common.graphs import GraphedSteps
from training.common.schedule import learning_rate_factor
from training.common.stop_request import StopRequest
from training.common.text import clock as clock_text
from training.common.weight_decay import parameter_groups
from training.common.widths import count


@dataclass(frozen=True)
class Recipe:
    """Describes how a model is trained on a task; the same for all models of a comparison.

    Args:
        steps (`int`): Largest number of steps.
        batch_size (`int`): Rows in a step.
        lengths (`tuple[int, int]`): Shortest and longest length of a step's batch.
        rate (`float`): Peak of AdamW's learning rate.
        weight_decay (`float`): Weight decay of weight matrices, except those that compute gates.
        clip (`float`): Largest norm of the gradient.
        warmup (`int`): Steps of a linear rise of the learning rate.
        schedule (`str`): Learning rate after the warm-up: "constant", "cosine" down to a twentieth, or "wsd", constant and then
            linearly down to a twentieth in the last 30 % of the steps.
        every (`int`): Steps between two evaluations on the validation part.
        metric (`str`): "accuracy" or "loss": decides which state is the best.
        solved (`float`): Validation accuracy at which a run ends; more than 1 for never.
        patience (`int`): Evaluations without progress after which a run ends; 0 for never.
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
        """Returns the learning rate of a step, counted from 0, divided by its peak.

        >>> recipe = Recipe(steps=100, batch_size=1, lengths=(1, 1), warmup=4)
        >>> [recipe.factor(step) for step in (0, 1, 3, 99)]
        [0.25, 0.5, 1.0, 1.0]
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "constant":
            return 1.0
        progress = (step + 0.5 - self.warmup) / max(self.steps - self.warmup, 1)
        return learning_rate_factor(progress, warmup=0.0, schedule=self.schedule)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], bf16: bool = False
) -> dict[str, float]:
    """Returns loss and accuracy over all labels of the batches.

    Args:
        model (`nn.Module`): Maps token ids `(batch, time)` to logits.
        batches: Pairs of ids and labels, see `training.paper.tasks`.
        bf16 (`bool`): Autocast to bfloat16, as in training.

    Returns:
        `dict[str, float]`: `loss` in nats per label, and `accuracy` as a share.

    Raises:
        ValueError: No batch has a label.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    loss = 0.0
    correct = 0
    labelled = 0
    for ids, labels in batches:
        labels = labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(ids.to(device))
        scored = labels != -100
        logits = logits[scored].float()
        labels = labels[scored]
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        correct += int((logits.argmax(-1) == labels).sum())
        labelled += labels.numel()
    model.train(was_training)
    if not labelled:
        raise ValueError("these batches have no label to score")
    return {"loss": loss / labelled, "accuracy": correct / labelled}


class Run:
    """Trains one model.

    Args:
        model (`nn.Module`): The model; trained in place.
        optimizer (`torch.optim.Optimizer`): Optimizer of its parameters. On a GPU it must be fused and capturable.
        steps (`int`): Largest number of steps.
        batch: Function of a step, counted from 0, that returns two batches: of inputs and of targets. It is called once for
            each step, in order. On a GPU both are int64 tensors on the CPU.
        loss: Function of the model, inputs and targets that returns a scalar tensor.
        learning_rate: Function of a step that returns the learning rate.
        clip (`float`): Largest norm of the gradient.
        validate: Function of the model that returns scores by name; without it there are no evaluations.
        every (`int`): Steps between two evaluations; there is also one after the last step.
        metric (`str`): Score that decides which state is the best: the highest "accuracy", the lowest of any other score.
        solved (`float`): Accuracy at which the run ends; more than 1 for never.
        patience (`int`): Evaluations without progress after which the run ends; 0 for never.
        dropout_seed: Function of a step that returns the seed of the global generator for that step. Without it the generator
            is left alone.
        timer: Clock in seconds by which the training is timed.
        folder (`Path`, *optional*): Folder of the checkpoints. The run resumes from the checkpoint that it finds there.
        title (`str`): Name under which the progress is printed; nothing is printed without one.
        checkpoint_every (`float`): Seconds between two checkpoints.
        about (`dict`, *optional*): What the run depends on, as values that JSON knows. The checkpoint of a run that depends on
            anything else is rejected.

    Raises:
        InputError: `folder` holds a checkpoint of another run.
    """

    def __init__(  # noqa: PLR0913 all but two are given by name
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
        batch: Callable[[int], tuple[Any, Any]],
        loss: Callable[[nn.Module, Any, Any], torch.Tensor],
        learning_rate: Callable[[int], float],
        clip: float = 1.0,
        validate: Callable[[nn.Module], dict[str, float]] | None = None,
        every: int = 1,
        metric: str = "loss",
        solved: float = 2.0,
        patience: int = 0,
        dropout_seed: Callable[[int], int] | None = None,
        timer: Callable[[], float] = time.perf_counter,
        folder: str | os.PathLike | None = None,
        title: str = "",
        checkpoint_every: float = 60.0,
        about: dict | None = None,
    ):
        self.model = model
        self.optimizer = optimizer
        self.steps = steps
        self.batch = batch
        self.loss = loss
        self.learning_rate = learning_rate
        self.clip = clip
        self.validate = validate
        self.every = every
        self.metric = metric
        self.solved = solved
        self.patience = patience
        self.dropout_seed = dropout_seed
        self.timer = timer
        self.folder = folder and Path(folder)
        self.title = title
        self.checkpoint_every = checkpoint_every
        self.about = {**(about or {}), "parameters": count(model)}

        self.device = next(model.parameters()).device
        self.rate: torch.Tensor | None = None
        self._update = self._forward_backward
        if self.device.type == "cuda":
            self.rate = torch.tensor(0.0, device=self.device)  # recorded steps read it at this address
            self._update = GraphedSteps(self._forward_backward)

        self.step = 0
        self.seconds = 0.0
        self.diverged = False
        self.upcoming: tuple[Any, Any] | None = None  # batch of the next step
        self.losses: list[float] = []
        self.curve: list[dict] = []  # one entry for each evaluation
        self.best: dict | None = None  # the best entry
        self.best_weights: dict | None = None
        if self.folder and checkpoints(self.folder):
            self._resume()

    def _resume(self) -> None:
        remedy = f"delete {self.folder} to start again"
        saved = load_checkpoint(self.folder, remedy)
        check_same_run(saved["about"], self.about, set(), remedy)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for name, value in saved["run"].items():
            setattr(self, name, value)

    def save(self) -> None:
        """Writes a checkpoint, then deletes the previous one.

        Raises:
            CheckpointError: The checkpoint cannot be written.
        """
        names = ("step", "seconds", "diverged", "losses", "curve", "best", "best_weights")
        payload = {
            "about": self.about,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "run": {name: getattr(self, name) for name in names},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.folder, self.step, payload, keep=1)

    def _train_step(self) -> float:
        inputs, targets = self.upcoming or self.batch(self.step)
        if self.dropout_seed is not None:
            torch.manual_seed(self.dropout_seed(self.step))
        rate = self.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate if self.rate is None else self.rate.fill_(rate)
        found = self._update(inputs, targets)
        self.upcoming = self.batch(self.step + 1)  # drawn while a GPU computes
        loss, norm = found.tolist()
        self.diverged = not math.isfinite(norm)
        return loss

    def _forward_backward(self, inputs: Any, targets: Any) -> torch.Tensor:
        """Makes one step; returns loss and norm of the gradient. If the norm is not finite, the weights stay as they are."""
        loss = self.loss(self.model, inputs, targets)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        finite = torch.isfinite(norm)
        if self.device.type == "cuda":
            # A recorded step cannot branch. A fused optimizer skips the step by this flag, which torch's GradScaler uses too.
            self.optimizer.found_inf = (~finite).float()
            self.optimizer.step()
        elif finite:
            self.optimizer.step()
        return torch.stack([loss.detach().float(), norm.float()])

    def _is_better(self, entry: dict) -> bool:
        if self.best is None:
            return True
        now = entry[self.metric]
        before = self.best[self.metric]
        return now > before if self.metric == "accuracy" else now < before

    def _evaluate(self) -> None:
        scores = self.validate(self.model)
        # A step with a finite gradient can still ruin the weights.
        if not all(math.isfinite(score) for score in scores.values()):
            self.diverged = True
            return
        recent = self.losses[-self.every :]
        entry = {"step": self.step, "training_loss": sum(recent) / len(recent), **scores}
        self.curve.append(entry)
        if self.title:
            self._print_progress(entry["training_loss"], scores)
        if self._is_better(entry):
            self.best = entry
            self.best_weights = {name: weight.clone() for name, weight in self.model.state_dict().items()}

    def _print_progress(self, training_loss: float, scores: dict[str, float]) -> None:
        speed = self.step / self.seconds
        left = clock_text((self.steps - self.step) / speed)
        validation = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
        print(
            f"{self.title}: step {self.step:,} of {self.steps:,}, loss {training_loss:.3f}, validation {validation}, "
            f"{speed:.2f} steps/s, at most {left} left",
            flush=True,
        )

    def _is_finished(self) -> bool:
        if self.step >= self.steps or self.diverged:
            return True
        if not self.curve or self.curve[-1]["step"] != self.step:
            return False
        if self.metric == "accuracy" and self.curve[-1]["accuracy"] >= self.solved:
            return True
        without_progress = (self.step - self.best["step"]) // self.every
        return bool(self.patience) and without_progress >= self.patience

    def train(self) -> dict:
        """Trains to the end.

        Returns:
            `dict`: `final` and `best` (the last and the best evaluation, each with its step), `steps`, `seconds` (training
            without evaluations), `steps_per_second`, `parameters`, `diverged` (whether a gradient or an evaluation was not
            finite, which ends a run) and `curve`, the list of evaluations.

        Raises:
            SystemExit: SIGTERM or Ctrl-C stopped the run; a checkpoint is written before.
            CheckpointError: A checkpoint cannot be written.
        """
        saved_at = time.monotonic()
        self.model.train()
        with StopRequest() as request:
            while not self._is_finished():
                begin = self.timer()
                self.losses.append(self._train_step())
                self.step += 1
                self.seconds += self.timer() - begin
                if self.validate is not None and (self.step % self.every == 0 or self.step == self.steps):
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
            "parameters": self.about["parameters"],
            "diverged": self.diverged,
            "curve": self.curve,
        }

    def restore_best(self) -> bool:
        """Loads the best state into the model; returns whether there is one. A run that diverged early has none."""
        if self.best_weights is None:
            return False
        self.model.load_state_dict(self.best_weights)
        return True

    def test(self, judge: Callable[[nn.Module], dict]) -> dict[str, dict]:
        """Judges the last state and the best one, and leaves the best one in the model.

        A run that diverged before its first evaluation has no best state; only the last one is judged.
        """
        found = {"final": judge(self.model)}
        if self.restore_best():
            found["best"] = found["final"] if self.best["step"] == self.step else judge(self.model)
        return found


def run_on_task(
    model: nn.Module,
    task: Any,
    recipe: Recipe,
    seed: int,
    validation: Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]],
    about: dict | None = None,
    **options: Any,
) -> Run:
    """Returns the run of a model on a task, with AdamW; batches and dropout are functions of the seed and the step.

    Args:
        model (`nn.Module`): Maps token ids to logits, see `training.common.comparators`.
        task: A task of `training.paper.tasks`.
        recipe (`Recipe`): How to train.
        seed (`int`): Seed of the batches and of dropout.
        validation: Function without arguments that returns the batches to evaluate on, always the same ones.
        about (`dict`, *optional*): What the run depends on besides recipe, seed and task.
        options: `folder`, `title`, `checkpoint_every` and `timer` of `Run`.
    """
    device = next(model.parameters()).device
    groups = parameter_groups(model, recipe.weight_decay, gates_decay=False)
    optimizer = torch.optim.AdamW(groups, lr=recipe.rate, fused=True, capturable=device.type == "cuda")
    shortest, longest = recipe.lengths

    def draw(step: int) -> tuple[int, int]:
        """Returns the dropout seed and the length of a step."""
        rng = np.random.default_rng((seed, step))
        return int(rng.integers(2**63)), int(rng.integers(shortest, longest + 1))

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return task.batch([seed, step], recipe.batch_size, draw(step)[1])

    def loss(model: nn.Module, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            logits = model(ids)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())

    return Run(
        model,
        optimizer,
        steps=recipe.steps,
        batch=batch,
        loss=loss,
        learning_rate=lambda step: recipe.rate * recipe.factor(step),
        clip=recipe.clip,
        validate=lambda model: evaluate(model, validation(), recipe.bf16),
        every=recipe.every,
        metric=recipe.metric,
        solved=recipe.solved,
        patience=recipe.patience,
        dropout_seed=lambda step: draw(step)[0],
        about={**(about or {}), **asdict(recipe), "lengths": list(recipe.lengths), "seed": seed, "task": task.name},
        **options,
    )
