"""The chat template of a GGUF file: its own, or that of the format whose end of turn is its end token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpg_cli.errors import ModelError, brief
from mpg_cli.models.load.gguf.vocabulary import Vocabulary

# By the token that ends a turn and one that begins it. Base models have these tokens too, so a format is
# recognised only where the end of a turn is the file's end token. `models/text/template.py` puts system text
# before the first user turn where a template raises an error.
FORMATS = {
    ("<|im_end|>", "<|im_start|>"): (  # ChatML
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    ("<|eot_id|>", "<|start_header_id|>"): (  # Llama 3
        "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
        "{{ m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    ("<end_of_turn>", "<start_of_turn>"): (  # Gemma
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
        "{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    ("<|end|>", "<|assistant|>"): (  # Phi-3
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
}


def find_template(metadata: Mapping[str, Any], vocabulary: Vocabulary, adds_bos: bool) -> str | None:
    """The Jinja template of the file, else of a format that its end token shows, else None.

    Without one a prompt is continued as by any base model, and what needs turns is refused where it is asked
    for. `adds_bos`: text without a template gets the bos token.
    """
    for key in ("tokenizer.chat_template", "tokenizer.chat_template.default"):
        if isinstance(own := metadata.get(key), str) and own.strip():
            return own
    ends = {vocabulary.tokens[vocabulary.roles[role]] for role in ("eos", "eot") if role in vocabulary.roles}
    for (end, start), template in FORMATS.items():
        if end in ends and start in vocabulary.ids:
            return ("{{ bos_token }}" if adds_bos else "") + template
    return None


def check_template(tokenizer: Any, name: str) -> None:
    """Raise ModelError where the template of a tokenizer is not Jinja.

    It may reject the conversation here; rendering a prompt reports that.
    """
    from jinja2.exceptions import TemplateSyntaxError

    if not tokenizer.chat_template:
        return
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    except TemplateSyntaxError as error:
        raise ModelError(
            f"model {name}: its chat template is no valid Jinja: {brief(error)} (line {error.lineno})",
            hint="choose another file of the model",
        ) from error
    except Exception:
        pass
