# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The classification heads: a label for a text, for each token, and the span that answers a question."""

import torch

from .compat import (
    Cache,
    GenericForQuestionAnswering,
    GenericForSequenceClassification,
    GenericForTokenClassification,
    SequenceClassifierOutputWithPast,
    TransformersKwargs,
    Unpack,
    auto_docstring,
    can_return_tuple,
)
from .modeling_minrnn import MinRNNPreTrainedModel


def _last_tokens(input_ids, attention_mask, pad_token_id, batch: int, time: int, device):
    """Where each row's last real token stands, `(batch,)`: by the mask, or without one by the padding token."""
    if attention_mask is not None:
        real = attention_mask[:, -time:] != 0
    elif input_ids is not None and pad_token_id is not None:
        real = input_ids != pad_token_id
    else:
        return torch.full((batch,), time - 1, device=device)
    return (torch.arange(time, device=real.device) * real).argmax(-1).to(device)


@auto_docstring
class MinRNNForSequenceClassification(GenericForSequenceClassification, MinRNNPreTrainedModel):
    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutputWithPast:
        r"""
        The label is read off at the last token that `attention_mask` leaves in; without a mask, at the last one that is no
        padding token.

        Example:

        ```python
        >>> import torch
        >>> from hf_minrnn import MinRNNConfig, MinRNNForSequenceClassification

        >>> config = MinRNNConfig(vocab_size=256, hidden_size=64, num_hidden_layers=2, num_labels=3)
        >>> model = MinRNNForSequenceClassification(config).eval()
        >>> ids, mask = torch.tensor([[1, 2, 3, 0]]), torch.tensor([[1, 1, 1, 0]])
        >>> torch.allclose(model(ids, attention_mask=mask).logits, model(ids[:, :3]).logits, atol=1e-6)
        True

        ```"""
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        batch, time, _ = hidden_states.shape
        device = hidden_states.device
        last = _last_tokens(input_ids, attention_mask, self.config.pad_token_id, batch, time, device)
        logits = self.score(hidden_states[torch.arange(batch, device=device), last])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )


@auto_docstring
class MinRNNForTokenClassification(GenericForTokenClassification, MinRNNPreTrainedModel):
    pass


@auto_docstring
class MinRNNForQuestionAnswering(GenericForQuestionAnswering, MinRNNPreTrainedModel):
    pass


__all__ = ["MinRNNForQuestionAnswering", "MinRNNForSequenceClassification", "MinRNNForTokenClassification"]
