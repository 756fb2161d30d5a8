"""From token ids to text as they come: never half a character, never the start of a stop string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

REPLACEMENT = "\ufffd"
PATIENCE = 8  # tokens; a valid character is complete long before


class Detokenizer:
    """Decodes a reply token by token.

    A token's text depends on its neighbours (byte-level pieces, sentencepiece's spaces), so each is
    decoded behind the tokens of the last emitted piece, and held back while it ends in an incomplete
    character.
    """

    def __init__(self, tokenizer: Any, before: str = "") -> None:
        """`before` is the text that the tokens go on from."""
        self.tokenizer = tokenizer
        known = tokenizer(before, add_special_tokens=False)["input_ids"] if before else []
        self.ids: list[int] = list(known[-PATIENCE:])  # from the last emitted piece on
        self.emitted = len(self.ids)  # how many of `ids` are text already

    def push(self, token: int) -> str:
        """The text that this token completes; often that of one token, sometimes none."""
        self.ids.append(token)
        text = self._pending()
        if (not text or text.endswith(REPLACEMENT)) and len(self.ids) - self.emitted < PATIENCE:
            return ""
        self.ids, self.emitted = self.ids[self.emitted :], len(self.ids) - self.emitted
        return text

    def flush(self) -> str:
        """What is still held back, as it is."""
        text = self._pending()
        self.ids, self.emitted = [], 0
        return text

    def _pending(self) -> str:
        return self._decode(self.ids)[len(self._decode(self.ids[: self.emitted])) :]

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class StopStrings:
    """Finds the first stop string in a stream of text; holds back what might be the start of one.

    The text of special tokens is never shown. A stop string counts with it, `end<|im_end|>`, and without it:
    what is shown never has one.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.found = False
        self._held = ""
        self._hidden: list[range] = []  # places in the held text that are not shown

    def push(self, text: str, *, shown: bool = True) -> str:
        """The text that may be shown now. `found` tells whether a stop string was reached."""
        if text and not shown:
            self._hidden.append(range(len(self._held), len(self._held) + len(text)))
        self._held += text
        views: list[Sequence[int]] = [range(len(self._held))]  # all characters, and those that are shown
        if self._hidden:
            views.append([place for place in views[0] if not self._is_hidden(place)])
        ends = [self._search(view) for view in views if view]
        self.found = any(found for _, found in ends)
        piece = self._take(min((place for place, found in ends if found or not self.found), default=0))
        if self.found:
            self._held, self._hidden = "", []
        return piece

    def flush(self) -> str:
        """What was held back; the reply is over and no stop string came of it."""
        return self._take(len(self._held))

    def _search(self, view: Sequence[int]) -> tuple[int, bool]:
        """Where the first stop string begins among these places, or else what may become one; which it is."""
        text = self._held if len(view) == len(self._held) else "".join(self._held[place] for place in view)
        found = [place for place in map(text.find, self.stops) if place >= 0]
        if found:
            return view[min(found)], True
        keep = max((_overlap(text, stop) for stop in self.stops), default=0)
        return (view[len(view) - keep] if keep else len(self._held)), False

    def _is_hidden(self, place: int) -> bool:
        return any(place in hidden for hidden in self._hidden)

    def _take(self, end: int) -> str:
        """What may be shown of the text before `end`, which is held no longer."""
        taken = "".join(c for place, c in enumerate(self._held[:end]) if not self._is_hidden(place))
        self._held = self._held[end:]
        moved = (range(max(0, hidden.start - end), hidden.stop - end) for hidden in self._hidden)
        self._hidden = [hidden for hidden in moved if hidden]
        return taken


def _overlap(held: str, stop: str) -> int:
    """Length of the longest end of the held text that begins `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(held)), 0, -1) if held.endswith(stop[:n])), 0)


@lru_cache(maxsize=8)
def special_texts(tokenizer: Any) -> Mapping[int, str]:
    """Special tokens, whose text is no part of a reply, and what they are called."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    texts = {id_: str(token) for id_, token in added.items() if token.special}
    return texts | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


class ReplyText:
    """The text of one reply as its tokens are committed, up to an end token or a stop string.

    It begins with `prefill`, which the tokens go on from; stop strings are looked for behind it.
    """

    def __init__(
        self, tokenizer: Any, stops: Sequence[str], end_tokens: frozenset[int], prefill: str = ""
    ) -> None:
        self.detokenizer, self.stops = Detokenizer(tokenizer, prefill), StopStrings(stops)
        self.end_tokens = end_tokens
        self.ids: list[int] = []  # end token excluded
        self.whole = prefill
        self._special = special_texts(tokenizer) if stops else {}

    @property
    def stopped(self) -> bool:
        return self.stops.found

    def push(self, tokens: Sequence[int]) -> tuple[str, int]:
        """The new text that may be shown, and how many of the tokens were used: all, or up to a stop."""
        piece, used = "", 0
        for token in tokens:
            used += 1
            if token not in self.end_tokens:
                self.ids.append(token)
                piece += self.stops.push(self.detokenizer.push(token))
            if token in self._special and not self.stopped:
                piece += self.stops.push(self._special[token], shown=False)
                if self.stopped and self.ids[-1:] == [token]:
                    self.ids.pop()  # as an end token
            if self.stopped:
                break
        self.whole += piece
        return piece, used

    def flush(self) -> str:
        """What was held back for a character or a stop string that never came."""
        if self.stopped:
            return ""
        piece = self.stops.push(self.detokenizer.flush())
        piece += "" if self.stopped else self.stops.flush()
        self.whole += piece
        return piece
