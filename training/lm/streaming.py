# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Documents that are read during training, and the rows of tokens that are made from them.

Every process reads the whole stream and takes its own rows, so the rows don't depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from training.common.errors import InputError
from training.corpus.corpus import DocumentStream
from training.corpus.hub import quietly
from training.lm.tokenization import encode_document_ids, token_dtype
from training.lm.trained_on import TrainedOn

READ_AT_ONCE = 32  # documents that are encoded together, or fewer if they are long
CHARACTERS_AT_ONCE = 1 << 20


class StreamBatches:
    """Rows of tokens from a stream of documents, each after a separator. After its end the stream starts again.

    Args:
        batching (`str`): `packed`: the rows of a step follow each other in the stream; `stateful`: each row takes its own
            document from the stream, reads it over as many steps as it needs, and then takes the next one.
        stream (`DocumentStream`): The documents.
        length (`int`): Tokens per row.
        rows (`int`): Rows per step, over all processes.
        shuffle_buffer (`int`): Number of documents that are read ahead, and from which the next one is drawn; 0 keeps their
            order. The buffer of datasets is not used, as it repeats some documents after a resumption.
        seed (`int`): For the shuffling.
    """

    def __init__(
        self,
        batching: str,
        stream: DocumentStream,
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        rows: int,
        shuffle_buffer: int = 0,
        seed: int = 0,
    ):
        self.stream = stream
        self.tokenizer = tokenizer
        self.dtype = token_dtype(tokenizer)
        self.length = length
        self.rows = rows
        self.shuffle_buffer = shuffle_buffer
        self.seed = seed
        self.epoch = 0
        self.given = 0  # number of documents that rows have taken
        self.seen = TrainedOn()  # record of the documents that were read
        self.lanes = [np.zeros(0, self.dtype)] * (
            rows if batching == "stateful" else 1
        )  # tokens that the next rows take
        self.waiting: list[np.ndarray] = []  # documents that are encoded and in no lane yet
        self.iterator: Iterator[str] | None = None
        # State of the stream after the last read. A stream that was resumed and not yet read does not know its own state.
        self.position: dict | None = None

    def _read(self) -> None:
        """Reads and encodes some documents."""
        for _ in range(2):  # at the end of the stream, it is read again from the start
            if self.iterator is None:
                self.iterator = iter(self.stream)
            texts = quietly(lambda: _next_texts(self.iterator), "the next documents of the stream")
            if texts:
                self.position = self.stream.state_dict()
                if self.epoch == 0:  # later epochs read the same documents
                    self.seen.add(texts)
                separator = np.array([self.tokenizer.eos_token_id])
                for ids in encode_document_ids(self.tokenizer, texts):
                    self.waiting.append(np.concatenate([separator, ids]).astype(self.dtype))
                return
            self.iterator = None
            self.position = None
            self.epoch += 1
        raise InputError("the stream gives no more documents: check that its files still exist")

    def _document(self) -> np.ndarray:
        """Returns the tokens of the next document."""
        while len(self.waiting) <= self.shuffle_buffer:
            self._read()
        if self.shuffle_buffer:
            drawn = np.random.default_rng((self.seed, self.given)).integers(len(self.waiting))
            self.waiting[0], self.waiting[drawn] = self.waiting[drawn], self.waiting[0]
        self.given += 1
        return self.waiting.pop(0)

    def next(self, step: int) -> np.ndarray:
        """Returns the rows of the next step, int64 of shape `(rows, length + 1)`. A row's last token is read again."""
        take = self.length * self.rows // len(self.lanes)
        taken = []
        for number, lane in enumerate(self.lanes):
            pieces = [lane]
            size = len(lane)
            while size <= take:
                pieces.append(self._document())
                size += len(pieces[-1])
            if len(pieces) > 1:  # else the rest of a long document would be copied at each step
                lane = np.concatenate(pieces)
            taken.append(lane[: take + 1])
            self.lanes[number] = lane[take:]
        if len(self.lanes) > 1 or self.rows == 1:
            return np.stack(taken).astype(np.int64)
        index = np.arange(self.rows)[:, None] * self.length + np.arange(self.length + 1)
        return taken[0][index].astype(np.int64)

    def state_dict(self) -> dict:
        """Returns the position in the stream, and the tokens that were read and not yet taken."""
        return {
            "stream": self.position,
            "epoch": self.epoch,
            "given": self.given,
            "lanes": [_narrow(lane) for lane in self.lanes],
            "waiting": [_narrow(ids) for ids in self.waiting],
            "seen": self.seen.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Continues at the position of a state dict."""
        self.epoch = state["epoch"]
        self.given = state["given"]
        self.lanes = [lane.numpy().astype(self.dtype) for lane in state["lanes"]]
        self.waiting = [ids.numpy().astype(self.dtype) for ids in state["waiting"]]
        self.seen.load_state_dict(state.get("seen"))
        self.iterator = None
        self.position = state["stream"]
        if self.position is not None:
            self.stream.load_state_dict(self.position)
            self.iterator = iter(self.stream)


def _next_texts(documents: Iterator[str]) -> list[str]:
    """Returns the next `READ_AT_ONCE` documents, or fewer with about `CHARACTERS_AT_ONCE` characters; none at the end."""
    texts: list[str] = []
    size = 0
    for text in documents:
        texts.append(text)
        size += len(text)
        if len(texts) == READ_AT_ONCE or size >= CHARACTERS_AT_ONCE:
            break
    return texts


def _narrow(ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int32))
