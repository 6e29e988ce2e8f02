# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The classification heads: a label for each text, a label for each token, and the span that answers a question."""

# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportIncompatibleMethodOverride=false
# pyright: reportPrivateImportUsage=false
# TransformersKwargs also names arguments of the signatures below, these differ from transformers' own, and compat.py imports
# names that transformers does not list as exported.

import torch

from .compat import (
    AutoModel,
    Cache,
    GenericForQuestionAnswering,
    GenericForSequenceClassification,
    GenericForTokenClassification,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
    TransformersKwargs,
    Unpack,
    auto_docstring,
    can_return_tuple,
)
from .configuration_minrnn import MinRNNConfig
from .inputs_minrnn import PACKING_ARGS, packing_argument
from .modeling_minrnn import MinRNNModel, MinRNNPreTrainedModel

# transformers' heads create their base model through AutoModel. When this file is loaded as remote code, AutoModel would
# otherwise not know the model, and would ask whether to trust code that is already running.
AutoModel.register(MinRNNConfig, MinRNNModel, exist_ok=True)


@auto_docstring
class MinRNNForSequenceClassification(GenericForSequenceClassification, MinRNNPreTrainedModel):
    @can_return_tuple
    @auto_docstring(custom_args=PACKING_ARGS)
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        seq_idx: torch.Tensor | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutputWithPast:
        r"""
        The logits are computed from the last token that is not padding or, with `bidirectional=True`, from the mean over all
        tokens that are not padding. Without `attention_mask`, tokens equal to `pad_token_id` are padding. There is one label
        for each row, so rows with several sequences are rejected.

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
        packing = {"seq_idx": seq_idx, "cu_seq_lens_q": cu_seq_lens_q, "resets": resets}
        if attention_mask is None and past_key_values is None:  # else position_ids do not mark sequences
            packing["position_ids"] = position_ids
        if attention_mask is None and input_ids is not None and self.config.pad_token_id is not None:
            attention_mask = input_ids != self.config.pad_token_id
        name = packing_argument(packing, attention_mask)
        if name is not None:
            raise ValueError(f"{name}: a row has one label, so give each sequence a row of its own")
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            position_ids=position_ids,
            seq_idx=seq_idx,
            cu_seq_lens_q=cu_seq_lens_q,
            resets=resets,
            **kwargs,
        )
        pooled = self._pool(outputs.last_hidden_state, attention_mask)
        logits = self.score(pooled)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, pooled_logits=logits, config=self.config, **kwargs)
            items = kwargs.get("num_items_in_batch")
            if items is not None and self.config.problem_type != "single_label_classification":
                loss = loss * (labels.numel() / items)  # transformers' other losses ignore num_items_in_batch
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )

    def _pool(self, hidden_states, attention_mask):
        batch, time, _ = hidden_states.shape
        device = hidden_states.device
        if attention_mask is None:
            mask = torch.ones(batch, time, dtype=torch.bool, device=device)
        else:
            mask = (attention_mask[:, -time:] != 0).to(device)
        if self.config.bidirectional:  # the backward half of the last token has only seen that token
            total = torch.where(mask.unsqueeze(-1), hidden_states, 0).sum(1)
            return total / mask.sum(1, keepdim=True).clamp(min=1)
        last = (torch.arange(time, device=device) * mask).argmax(-1)
        return hidden_states[torch.arange(batch, device=device), last]


@auto_docstring
class MinRNNForTokenClassification(GenericForTokenClassification, MinRNNPreTrainedModel):
    @can_return_tuple
    @auto_docstring(custom_args=PACKING_ARGS)
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        seq_idx: torch.Tensor | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> TokenClassifierOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            position_ids=position_ids,
            seq_idx=seq_idx,
            cu_seq_lens_q=cu_seq_lens_q,
            resets=resets,
            **kwargs,
        )
        logits = self.score(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:  # kwargs may hold Trainer's num_items_in_batch, which transformers' own head ignores
            loss = self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


@auto_docstring
class MinRNNForQuestionAnswering(GenericForQuestionAnswering, MinRNNPreTrainedModel):
    @can_return_tuple
    @auto_docstring(custom_args=PACKING_ARGS)
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        seq_idx: torch.Tensor | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> QuestionAnsweringModelOutput:
        r"""
        At padding the logits are the lowest number of their dtype, so no answer starts or ends there, and padding does not
        change the loss.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            position_ids=position_ids,
            seq_idx=seq_idx,
            cu_seq_lens_q=cu_seq_lens_q,
            resets=resets,
            **kwargs,
        )
        logits = self.qa_outputs(outputs.last_hidden_state)
        if attention_mask is not None:
            padding = (attention_mask[:, -logits.shape[1] :] == 0).to(logits.device)
            logits = logits.masked_fill(padding.unsqueeze(-1), torch.finfo(logits.dtype).min)
        start_logits = logits[..., 0].contiguous()
        end_logits = logits[..., 1].contiguous()
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(start_logits, end_logits, start_positions, end_positions, **kwargs)
        return QuestionAnsweringModelOutput(
            loss=loss, start_logits=start_logits, end_logits=end_logits, hidden_states=outputs.hidden_states
        )


__all__ = ["MinRNNForQuestionAnswering", "MinRNNForSequenceClassification", "MinRNNForTokenClassification"]
