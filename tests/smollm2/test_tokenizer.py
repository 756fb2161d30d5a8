"""The tokenizer of the file of SmolLM2: token ids and text are llama.cpp's."""

from __future__ import annotations

from mpg_cli.config.named_models import find_smollm2
from mpg_cli.models.load.loader import LoadedModel
from tests.support.llama_cpp import LlamaCpp
from tests.support.texts import texts
from tests.support.vocabularies import CHATML


def test_ids_and_texts_are_those_of_llama_cpp(loaded: LoadedModel, smollm2: str) -> None:
    ours = loaded.tokenizer
    with LlamaCpp(find_smollm2(None).path) as theirs:
        for text in texts(1000, seed=3, extra=CHATML):
            ids = theirs.encode(text, around=True)
            assert ours(text)["input_ids"] == ids, text
            assert ours.decode(ids) == theirs.decode(ids), text
