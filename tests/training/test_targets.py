"""The adapted layers on every supported architecture."""

from __future__ import annotations

import re

import pytest
from torch import nn

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.training.targets import choose_targets
from tests.support.models import ALL, ARCHITECTURES, tiny_model


@pytest.mark.parametrize("architecture", ALL)
def test_every_linear_layer_but_the_output(architecture: str) -> None:
    found = choose_targets(tiny_model(architecture), (), "m")
    assert set(ARCHITECTURES[architecture][2]) - {"lm_head"} <= set(found)
    assert not {"lm_head", "embed_out"} & set(found)


def test_wanted_layers() -> None:
    model = tiny_model("llama")
    assert choose_targets(model, ("v_proj", "q_proj"), "m") == ("q_proj", "v_proj")
    for target, message in (
        ("q_porj", "is not a layer of this model; did you mean q_proj"),
        ("lm_head", "is the output embedding"),
        ("self_attn", "names a module of type LlamaAttention, not a linear layer"),
    ):
        with pytest.raises(UsageError, match=re.escape(f"'{target}' {message}")) as caught:
            choose_targets(model, (target,), "m")
        assert "q_proj" in str(caught.value.hint)


def test_a_model_without_such_layers_is_refused() -> None:
    class Square(nn.Linear):
        """Something else than a linear layer."""

    model = tiny_model("llama")
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear and name != "lm_head":
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], Square(module.in_features, module.out_features))
    with pytest.raises(ModelError, match=r"model m \(llama\) has no layer that LoRA can adapt"):
        choose_targets(model, (), "m")
