"""Streaming detokenization: never half a character, never the start of a stop string."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

REPLACEMENT = "\ufffd"
MAX_HELD = 8  # tokens; more than any valid character has
MARKS = range(0xD800, 0xE000)  # surrogates, which decoded text never contains


class Detokenizer:
    """Decodes a reply token by token.

    The text of a token depends on its neighbours (byte-level pieces, SentencePiece spaces), so each is
    decoded after the tokens of the last emitted piece, and held back while it ends in an incomplete
    character.
    """

    def __init__(self, tokenizer: Any, before: str = "") -> None:
        """`before` is the text that the tokens continue."""
        self.tokenizer = tokenizer
        known = tokenizer(before, add_special_tokens=False)["input_ids"] if before else []
        self.ids: list[int] = list(known[-MAX_HELD:])  # from the last emitted piece on
        self.emitted = len(self.ids)  # number of `ids` whose text was emitted

    def push(self, token: int) -> str:
        """The text that this token completes, which may be empty."""
        self.ids.append(token)
        text = self._pending()
        if (not text or text.endswith(REPLACEMENT)) and len(self.ids) - self.emitted < MAX_HELD:
            return ""
        self.ids, self.emitted = self.ids[self.emitted :], len(self.ids) - self.emitted
        return text

    def flush(self) -> str:
        """The text that is still held back."""
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

    Special tokens are never shown. A stop string matches with the special tokens that it contains, as in
    `end<|im_end|>`, and it matches the shown text without any.
    """

    def __init__(self, stops: Sequence[str], specials: Iterable[str] = ()) -> None:
        """`specials` are the names of special tokens."""
        self.stops = tuple(stops)
        self.found = False
        self._held = ""
        named = sorted((name for name in set(specials) if any(name in stop for stop in stops)), key=len)
        # A character that no text contains for each special token: stop strings match whole names only.
        self._marks = {name: chr(MARKS.start + n) for n, name in enumerate(reversed(named))}
        self._coded = tuple(map(self._code, stops))

    def push(self, text: str) -> str:
        """The text that may be shown now; sets `found` at a stop string."""
        self._held += text
        indices = [i for i in range(len(self._held)) if ord(self._held[i]) not in MARKS]
        shown = "".join(self._held[i] for i in indices)
        ends = [_search(self._held, self._coded), _search(shown, self.stops)]
        ends[1] = ends[1][0] and indices[ends[1][0] - 1] + 1, ends[1][1]  # an index of the held text
        self.found = any(found for _, found in ends)
        piece = self._take(min(end for end, found in ends if found or not self.found))
        self._held = "" if self.found else self._held
        return piece

    def push_special(self, name: str) -> str:
        """The same for a special token."""
        return self.push(self._marks.get(name, chr(MARKS.stop - 1)))

    def flush(self) -> str:
        """The held back text, at the end of a reply without a stop string."""
        return self._take(len(self._held))

    def _code(self, stop: str) -> str:
        for name, mark in self._marks.items():
            stop = stop.replace(name, mark)
        return stop

    def _take(self, end: int) -> str:
        """Remove the held text before `end`; returns what may be shown of it."""
        taken, self._held = self._held[:end], self._held[end:]
        return "".join(char for char in taken if ord(char) not in MARKS)


def _search(text: str, stops: Sequence[str]) -> tuple[int, bool]:
    """Where the first stop string begins, or the start of a possible one; whether it is complete."""
    found = [begin for begin in map(text.find, stops) if begin >= 0]
    if found:
        return min(found), True
    return len(text) - max((_overlap(text, stop) for stop in stops), default=0), False


def _overlap(held: str, stop: str) -> int:
    """Length of the longest suffix of the held text that is a prefix of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(held)), 0, -1) if held.endswith(stop[:n])), 0)


@lru_cache(maxsize=8)
def special_texts(tokenizer: Any) -> Mapping[int, str]:
    """Special tokens by id, whose text is not part of a reply."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    texts = {id_: str(token) for id_, token in added.items() if token.special}
    return texts | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


class ReplyText:
    """The text of one reply as its tokens are committed, up to an end token or a stop string.

    It begins with `prefill`, which the tokens continue; stop strings are searched after it.
    """

    def __init__(
        self, tokenizer: Any, stops: Sequence[str], end_tokens: frozenset[int], prefill: str = ""
    ) -> None:
        self._special = special_texts(tokenizer) if stops else {}
        self.detokenizer = Detokenizer(tokenizer, prefill)
        self.stops = StopStrings(stops, self._special.values())
        self.end_tokens = end_tokens
        self.ids: list[int] = []  # end token excluded
        self.whole = prefill

    @property
    def stopped(self) -> bool:
        return self.stops.found

    def push(self, tokens: Sequence[int]) -> tuple[str, int]:
        """The new text that may be shown, and the number of tokens used: all, or up to a stop string."""
        piece, used = "", 0
        for token in tokens:
            used += 1
            if token not in self.end_tokens:
                self.ids.append(token)
                piece += self.stops.push(self.detokenizer.push(token))
            if token in self._special and not self.stopped:
                piece += self.stops.push_special(self._special[token])
                if self.stopped and self.ids[-1:] == [token]:
                    self.ids.pop()  # as an end token
            if self.stopped:
                break
        self.whole += piece
        return piece, used

    def flush(self) -> str:
        """The text held back for a character or a stop string that stayed incomplete."""
        if self.stopped:
            return ""
        piece = self.stops.push(self.detokenizer.flush())
        piece += "" if self.stopped else self.stops.flush()
        self.whole += piece
        return piece
