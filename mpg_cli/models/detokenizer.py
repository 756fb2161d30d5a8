"""From token ids to text as they come: never half a character, never the start of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REPLACEMENT = "\ufffd"
PATIENCE = 8  # tokens; a valid character is complete long before


class Detokenizer:
    """Decodes a reply token by token.

    A token's text depends on its neighbours (byte-level pieces, sentencepiece's spaces), so each is
    decoded behind the tokens of the last emitted piece, and held back while it ends in an incomplete
    character.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []  # from the last emitted piece on
        self.emitted = 0  # how many of `ids` are text already

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
    """Finds the first stop string in a stream of text; holds back what might be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The text that may be shown now. `found` tells whether a stop string was reached."""
        self.held += text
        places = [place for place in (self.held.find(stop) for stop in self.stops) if place >= 0]
        if places:
            self.found = True
            shown, self.held = self.held[: min(places)], ""
            return shown
        keep = max((self._overlap(stop) for stop in self.stops), default=0)
        cut = len(self.held) - keep
        shown, self.held = self.held[:cut], self.held[cut:]
        return shown

    def flush(self) -> str:
        """What was held back; the reply is over and no stop string came of it."""
        shown, self.held = self.held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        return next(
            (n for n in range(min(len(stop) - 1, len(self.held)), 0, -1) if self.held.endswith(stop[:n])), 0
        )


class ReplyText:
    """The text of one reply as its tokens are committed, up to an end token or a stop string."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], end_tokens: frozenset[int]) -> None:
        self.detokenizer, self.stops, self.end_tokens = Detokenizer(tokenizer), StopStrings(stops), end_tokens
        self.ids: list[int] = []  # end token excluded
        self.whole = ""

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
