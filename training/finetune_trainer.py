# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune a saved MinRNN with Trainer and LoRA, merge the adapters, and save a model that loads anywhere.

    python -m training.finetune_trainer runs/stdlib-mingru my_code.txt runs/my-mingru

This is a short example to copy. It needs `pip install -e ".[train,ecosystem]"`.
"""

import argparse
import math
import shlex
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN, "peft")

import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorWithFlattening,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hf_minrnn.tools.card import usage
from hf_minrnn.tools.hub import PushError, make_repository, push_folder
from training.common.command_line import make_parser, reported
from training.lm.snippets import opening

CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [minrnn]
---
# {output}
{model}, fine-tuned on {data} by hf_minrnn's `finetune_trainer.py`: {steps} steps of {batch_size} pieces of at most {length}
tokens, LoRA merged. Loss per token of the last tenth, held out: {before:.4f} before, {after:.4f} after.

{usage}
"""
TARGETS = ["pointwise", "in_proj", "out_proj", "gate_proj", "up_proj", "down_proj"]


def load(name: str):
    """Loads a model and its tokenizer, and checks that they can be fine-tuned here."""
    try:
        model = AutoModelForCausalLM.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(f"{name} cannot be loaded, give a folder written by train_lm.py: {reason}") from error
    if model.config.model_type != "minrnn":
        raise SystemExit(f"{name} holds a {model.config.model_type} model: give a minGRU or minLSTM")
    if len(tokenizer) > model.config.vocab_size:
        raise SystemExit(f"the tokenizer of {name} has {len(tokenizer)} tokens, too many: save the model's own there")
    return model, tokenizer


@torch.no_grad()
def loss_per_token(model, pieces) -> float:
    """Returns the mean loss over all predicted tokens. (Trainer's is a mean over batches, and the last may be short.)"""
    rows = [torch.tensor([piece["input_ids"]], device=model.eval().device) for piece in pieces]
    nats = sum(model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1) for ids in rows)
    return nats / sum(ids.shape[1] - 1 for ids in rows)


def load_pieces(path: str, column: str, tokenizer, length: int):
    """Cuts a file into training and held-out pieces of at most `length` tokens; each text is between two end-of-text tokens."""
    if not Path(path).is_file():
        raise SystemExit(f"data file {path} does not exist: give a text, .json, .jsonl or .parquet file")
    kind = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}.get(Path(path).suffix, "text")
    options = {"sample_by": "document"} if kind == "text" else {}

    def cut(batch):
        texts = [tokenizer(text, add_special_tokens=False).input_ids for text in batch[column] if text]
        rows = [[tokenizer.eos_token_id, *ids, tokenizer.eos_token_id] for ids in texts]
        # The loss leaves out the first token of a piece, so a piece begins with the last token of the piece before.
        return {"input_ids": [ids[i : i + length] for ids in rows for i in range(0, len(ids) - 1, length - 1)]}

    try:
        rows = load_dataset(kind, data_files=str(path), split="train", **options)
        columns = rows.column_names
        pieces = rows.map(cut, batched=True, remove_columns=columns) if column in columns else None
    except Exception as error:  # datasets wraps errors of many types
        reason = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        raise SystemExit(
            f"{path} cannot be read, give {kind} in UTF-8 with text in {column!r} that is not empty: {reason}"
        ) from error
    if pieces is None:
        raise SystemExit(f"{path} has no column {column!r}: choose --text-column from {', '.join(columns)}")
    if len(pieces) < 2:
        raise SystemExit(f"{path} makes {len(pieces)} pieces of {length} tokens: give more text, or a smaller --length")
    return pieces.train_test_split(test_size=0.1, shuffle=False)


def parse_arguments(argv=None) -> argparse.Namespace:
    """Parses the command line, and checks the output folder."""
    parser = make_parser("training.finetune_trainer", __doc__)
    parser.add_argument("model", help="folder or name on the Hub")
    parser.add_argument("data", help="text, .json, .jsonl or .parquet file; its last tenth is held out")
    parser.add_argument("output", help="folder for the merged model; a new or empty one")
    parser.add_argument("--text-column", default="text", help="column with the text, of JSON and Parquet files")
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    parser.add_argument("--batch-size", type=int, default=8, help="pieces in a step")
    parser.add_argument("--length", type=int, default=256, help="tokens per piece")
    parser.add_argument("--learning-rate", type=float, default=5e-3, help="peak of the learning rate")
    parser.add_argument("--prompt", default="", help="beginning of the sample")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="repository for the merged model")
    parser.add_argument("--seed", type=int, default=0, help="seed of adapters, order of the data and dropout")
    args = parser.parse_args(argv)
    if min(args.steps, args.batch_size, args.length - 1) < 1 or not 0 < args.learning_rate < math.inf or args.seed < 0:
        parser.error("--steps, --batch-size and --learning-rate must be above 0, --length above 1, --seed not negative")
    if Path(args.output).exists() and not (Path(args.output).is_dir() and not any(Path(args.output).iterdir())):
        raise SystemExit(f"{args.output} is not an empty folder: give another")
    return args


@reported
def main(argv=None) -> dict:
    """Fine-tunes, prints, saves and pushes. Returns the held-out losses before and after, and a sample."""
    args = parse_arguments(argv)
    model, tokenizer = load(args.model)
    pieces = load_pieces(args.data, args.text_column, tokenizer, args.length)
    try:
        repository = make_repository(args.push_to_hub) if args.push_to_hub else None  # before the training
    except PushError as error:
        raise SystemExit(f"--push-to-hub {error}") from None
    set_seed(args.seed)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM"))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=args.output,
            max_steps=args.steps,
            per_device_train_batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            lr_scheduler_type="cosine",
            logging_steps=50,
            save_strategy="no",
            report_to="none",
            seed=args.seed,
        ),
        train_dataset=pieces["train"],
        data_collator=DataCollatorWithFlattening(),  # one row holds all pieces; no state passes from one to the next
    )
    before = loss_per_token(model, pieces["test"])
    trainer.train()
    after = loss_per_token(model, pieces["test"])
    if not math.isfinite(after):
        raise SystemExit(f"the held-out loss is {after} after the training, nothing is saved: lower --learning-rate")
    merged = model.merge_and_unload().eval()
    merged.carry_code()  # loads without hf_minrnn too, with trust_remote_code=True
    merged.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    ids = tokenizer(tokenizer.eos_token + args.prompt, add_special_tokens=False, return_tensors="pt").input_ids
    sample = tokenizer.decode(merged.generate(ids.to(merged.device), max_new_tokens=100, do_sample=True)[0], True)
    print(f"{sample}\nheld-out loss {before:.4f} before, {after:.4f} after; saved to {args.output}")
    known = {name: Path(getattr(args, name)).name for name in ("model", "data", "output")}  # without their folders
    prompt = args.prompt or opening([tokenizer.decode(pieces["test"][0]["input_ids"], skip_special_tokens=True)])
    example = usage(type(merged).__name__, Path(args.output).as_posix(), code=True, prompt=prompt)
    card = CARD.format(**(vars(args) | known), before=before, after=after, usage=example)
    Path(args.output, "README.md").write_text(card, encoding="utf-8")
    try:
        if repository:
            print(f"pushed to {push_folder(args.output, repository)}")
    except PushError as error:
        again = shlex.join(["hf-minrnn", "push", args.output, repository])
        raise SystemExit(f"the model is in {args.output}, but could not be pushed: {error}. Then: {again}") from None
    return {"loss_before": before, "loss_after": after, "sample": sample}


if __name__ == "__main__":
    main()
