"""Who gets which slot, and what need not be read again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.engine.slots import WORTH_A_COPY, Desk


class Ledger:
    """A reader without a model: a room is a list of the tokens that each slot holds."""

    vocab, context = 50, 64

    def __init__(self, grain=1, repeats=True, rows=8, spare=0) -> None:
        self.grain, self.repeats, self.rows, self._spare = grain, repeats, rows, spare

    def room(self, slots):
        self.held = [[] for _ in range(slots)]
        return self

    def spare(self, slots):
        return self._spare

    def copy(self, source, target, positions):
        assert len(self.held[source]) >= positions
        self.held[target] = self.held[source][:positions]

    def read(self, pieces) -> int:
        """Write every piece; the number of tokens that were read."""
        for piece in pieces:
            assert len(self.held[piece.slot]) >= piece.start
            self.held[piece.slot] = [*self.held[piece.slot][: piece.start], *piece.tokens]
        assert sum(len(piece.tokens) for piece in pieces) <= self.rows
        return sum(len(piece.tokens) for piece in pieces)


def finish(desk, ledger, jobs) -> int:
    """Read until all jobs are; the number of tokens that were read."""
    total = 0
    while any(job.left for job in jobs):
        planned = desk.plan(jobs)
        assert planned
        total += ledger.read([piece for _, piece in planned])
        desk.done(planned)
    return total


LONG = list(range(20))


def test_a_prompt_that_begins_like_an_earlier_one_is_read_from_there_on():
    ledger = Ledger()
    desk = Desk(ledger, 2)
    first = desk.place([*LONG, 7], "a")
    assert first.cached == 0 and finish(desk, ledger, [first]) == 21
    desk.release(first)
    second = desk.place([*LONG, 8, 9], "a")
    assert second.cached == 20 and finish(desk, ledger, [second]) == 2
    assert ledger.held[second.slot] == [*LONG, 8, 9]


def test_another_owner_has_to_read_for_itself():
    ledger = Ledger()
    desk = Desk(ledger, 2)
    first = desk.place(LONG, "a")
    finish(desk, ledger, [first])
    desk.release(first)
    assert desk.place(LONG, "b").cached == 0


def test_samples_of_one_prompt_wait_for_the_first_and_take_its_copy():
    ledger = Ledger(rows=64)
    desk = Desk(ledger, 4)
    jobs = [desk.place([*LONG, 7], "a") for _ in range(4)]
    assert [job.cached for job in jobs] == [0, 20, 20, 20]
    assert finish(desk, ledger, jobs) == 21 + 3  # the last token of each is read: its logits are asked for
    assert all(ledger.held[job.slot] == [*LONG, 7] for job in jobs)


def test_a_short_common_beginning_is_not_worth_waiting_for():
    desk = Desk(Ledger(), 2)
    desk.place([1] * (WORTH_A_COPY - 1) + [2, 3], "")
    assert desk.place([1] * (WORTH_A_COPY - 1) + [4, 5], "").cached == 0


def test_a_long_prefix_is_not_given_up_for_a_short_one_while_there_is_room():
    ledger = Ledger(spare=1)
    desk = Desk(ledger, 1)
    long = desk.place(LONG, "")
    finish(desk, ledger, [long])
    desk.release(long)
    short = desk.place([0, 40, 41, 42], "")
    finish(desk, ledger, [short])
    desk.release(short)
    assert desk.place([*LONG, 3], "").cached == 20


def test_reuse_in_whole_grains_and_of_what_was_read_as_a_prompt():
    ledger = Ledger(grain=8, repeats=False, rows=16)
    desk = Desk(ledger, 2)
    first = desk.place(LONG, "")
    finish(desk, ledger, [first])
    first.grow(33)
    finish(desk, ledger, [first])
    desk.release(first)
    assert desk.place([*LONG, 33, 34], "").cached == 16


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_slot_ends_with_its_own_tokens(data):
    """Prompts from a small alphabet share many beginnings, in any order of coming and going."""
    grain = data.draw(st.sampled_from([1, 4]))
    ledger = Ledger(grain=grain, repeats=grain == 1, rows=data.draw(st.sampled_from([4, 16])), spare=grain == 1)
    desk = Desk(ledger, 3)
    live = []
    for _ in range(data.draw(st.integers(1, 12))):
        if desk.free and data.draw(st.booleans()):
            size = data.draw(st.integers(1, 40))
            turns = data.draw(st.integers(0, 40))
            tokens = [0] * min(turns, size) + [1 + data.draw(st.integers(0, 1))] * max(0, size - turns)
            job = desk.place(tokens, data.draw(st.sampled_from(["", "a"])))
            live.append((job, tokens))
            assert job.cached < size
        elif live and all(not job.left for job, _ in live):
            job, _ = live.pop(data.draw(st.integers(0, len(live) - 1)))
            desk.release(job)
        elif live and data.draw(st.booleans()):
            finish(desk, ledger, [job for job, _ in live])
            assert all(ledger.held[job.slot][: len(tokens)] == tokens for job, tokens in live)
        else:
            for job, tokens in live:
                if not job.left and len(tokens) < 50:
                    tokens.append(5)
                    job.grow(5)
            planned = desk.plan([job for job, _ in live])
            ledger.read([piece for _, piece in planned])
            desk.done(planned)
