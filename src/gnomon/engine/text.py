"""From tokens to text while they arrive: a byte-level token may end in the middle of a character or of a stop text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Feed it the bytes of each token; it gives back the text that is certain by now.

    A character split over tokens is held back until it is whole; bytes that can never become one turn into U+FFFD, as
    bytes.decode(errors="replace") has it. Text that may be the beginning of a stop text is held back until that is
    settled. Once a stop text has been seen, stopped is True and nothing more comes.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, piece: bytes, final: bool = False) -> str:
        """The text made certain by piece; with final=True also what was held back."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(piece, final)
        # The stop text that is complete first, the longest of those that end together: so pieces do not matter.
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)[1]], ""
            return text
        keep = 0 if final else self._possible_stop()
        split = len(self._held) - keep
        text, self._held = self._held[:split], self._held[split:]
        return text

    def _possible_stop(self) -> int:
        """Length of the longest end of the held text that begins a stop text."""
        longest = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest
