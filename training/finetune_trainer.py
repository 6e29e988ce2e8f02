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

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorWithFlattening,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hf_minrnn.tools.hub import PushError, make_repository, push_folder
from training.common.command_line import at_least, make_parser, positive, positive_int, reported, seed
from training.common.errors import InputError, first_line
from training.common.files import complete_files
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions, add_text_options
from training.lm.evaluated_text import show_reading
from training.lm.tokenization import encode_document_ids
from training.lm.trained_on import heldout_warnings, record_corpus
from training.report.tuned_card import write_tuned_card

TARGETS = ["pointwise", "in_proj", "out_proj", "gate_proj", "up_proj", "down_proj"]


def load(name: str):
    """Loads a model and its tokenizer, and checks that they can be fine-tuned here."""
    try:
        model = AutoModelForCausalLM.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} cannot be loaded, give a folder written by train_lm.py: {first_line(error)}"
        ) from error
    if model.config.model_type != "minrnn":
        raise InputError(f"{name} holds a {model.config.model_type} model: give a minGRU or minLSTM")
    if len(tokenizer) > model.config.vocab_size:
        raise InputError(f"the tokenizer of {name} has {len(tokenizer)} tokens, too many: save the model's own there")
    return model, tokenizer


class Pieces(torch.utils.data.Dataset):
    """Documents cut into pieces of at most `length` tokens. Each document is between two end-of-text tokens."""

    def __init__(self, documents: list[str], tokenizer, length: int):
        end = [tokenizer.eos_token_id]
        rows = [np.concatenate([end, ids, end]).astype(np.int32) for ids in encode_document_ids(tokenizer, documents)]
        # The loss leaves out the first token of a piece, so a piece begins with the last token of the piece before.
        self.pieces = [ids[i : i + length] for ids in rows for i in range(0, len(ids) - 1, length - 1)]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> dict:
        return {"input_ids": self.pieces[index].tolist()}


@torch.no_grad()
def loss_per_token(model, pieces) -> float:
    """Returns the mean loss over all predicted tokens. (Trainer's is a mean over batches, and the last may be short.)"""
    rows = (torch.tensor([pieces[i]["input_ids"]], device=model.eval().device) for i in range(len(pieces)))
    losses = [(model(input_ids=ids, labels=ids).loss.item(), ids.shape[1] - 1) for ids in rows]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def parse_arguments(argv=None) -> argparse.Namespace:
    """Parses the command line, and checks the output folder."""
    parser = make_parser("training.finetune_trainer", __doc__)
    parser.add_argument("model", help="folder or name on the Hub")
    parser.add_argument("dataset", metavar="data", help="text file, folder, table, or name on the Hub")
    parser.add_argument("output", help="folder for the merged model; a new or empty one")
    add_text_options(parser.add_argument_group("text"))
    parser.add_argument("--dataset-name", help="for the card: name of the text; by default that of the source")
    parser.add_argument("--dataset-license", help="for the card: identifier of the text's license on the Hub")
    parser.add_argument("--license", help="for the card: identifier of the license of the weights")
    parser.add_argument("--steps", type=positive_int, default=300, help="training steps")
    parser.add_argument("--batch-size", type=positive_int, default=8, help="pieces in a step")
    parser.add_argument("--length", type=at_least(2), default=256, help="tokens per piece")
    parser.add_argument("--learning-rate", type=positive, default=5e-3, help="peak of the learning rate")
    parser.add_argument("--prompt", default="", help="beginning of the sample")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="repository for the merged model")
    parser.add_argument("--seed", type=seed, default=0, help="seed of adapters, order of the data and dropout")
    args = parser.parse_args(argv)
    args.output = str(Path(args.output).expanduser())
    if Path(args.model).expanduser().is_dir():
        args.model = str(Path(args.model).expanduser())
    if Path(args.output).exists() and not (Path(args.output).is_dir() and not any(Path(args.output).iterdir())):
        raise InputError(f"{args.output} is not an empty folder: give another")
    return args


@reported
def main(argv=None) -> dict:
    """Fine-tunes, prints, saves and pushes. Returns the held-out losses before and after, and a sample."""
    args = parse_arguments(argv)
    model, tokenizer = load(args.model)
    corpus = load_corpus(TextOptions.from_args(args))
    show_reading(corpus)
    train, heldout = (Pieces(documents, tokenizer, args.length) for documents in (corpus.train, corpus.heldout))
    try:
        repository = make_repository(args.push_to_hub) if args.push_to_hub else None  # before the training
    except PushError as error:
        raise InputError(f"--push-to-hub {error}") from None
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
        train_dataset=train,
        data_collator=DataCollatorWithFlattening(),  # one row holds all pieces; no state passes from one to the next
    )
    before = loss_per_token(model, heldout)
    trainer.train()
    after = loss_per_token(model, heldout)
    if not math.isfinite(after):
        raise InputError(f"the held-out loss is {after} after the training, nothing is saved: lower --learning-rate")
    merged = model.merge_and_unload().eval()
    merged.carry_code()  # loads without hf_minrnn too, with trust_remote_code=True
    with complete_files(args.output) as temporary:
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    ids = tokenizer(tokenizer.eos_token + args.prompt, add_special_tokens=False, return_tensors="pt").input_ids
    ids = merged.generate(ids.to(merged.device), max_new_tokens=100, do_sample=True)
    sample = tokenizer.decode(ids[0], skip_special_tokens=True)
    print(f"{sample}\nheld-out loss {before:.4f} before, {after:.4f} after; saved to {args.output}")
    record = record_corpus(corpus, base=args.model)  # so that evaluate knows what is held out
    record.write(args.output)
    for line in heldout_warnings(record, len(corpus.heldout)):
        print(line)
    write_tuned_card(args, corpus, merged.config.cell_type, before, after, record)
    try:
        if repository:
            print(f"pushed to {push_folder(args.output, repository)}")
    except PushError as error:
        again = shlex.join(["hf-minrnn", "push", args.output, repository])
        raise InputError(f"the model is in {args.output}, but could not be pushed: {error}. Then: {again}") from None
    return {"loss_before": before, "loss_after": after, "sample": sample}


if __name__ == "__main__":
    main()
