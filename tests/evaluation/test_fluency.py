"""Fluency is the base's own mean log-probability of the reply, whatever else is in the pass."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.evaluation.fluency import fluencies
from mpg_cli.models.load.loader import LoadedModel, load_model


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model("mpg-tiny", device="cpu", dtype="float32")


def test_it_equals_a_plain_forward_pass(loaded: LoadedModel) -> None:
    tokenizer, model = loaded.tokenizer, loaded.model
    prompts = [
        tokenizer(text)["input_ids"] for text in ("How do I sleep?", "Hi.", "Tell me about tea, please.")
    ]
    texts = ("Go to bed early and read a book.", "", "Tea.")
    replies = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = fluencies(loaded, prompts, replies)
    assert found[1] is None
    for at in (0, 2):
        ids = torch.tensor([[*prompts[at], *replies[at]]])
        with torch.inference_mode():
            log_probs = model(ids).logits[0].float().log_softmax(-1)
        begin = len(prompts[at])
        own = [float(log_probs[begin - 1 + k, token]) for k, token in enumerate(replies[at])]
        assert found[at] == pytest.approx(sum(own) / len(own), abs=1e-4)
