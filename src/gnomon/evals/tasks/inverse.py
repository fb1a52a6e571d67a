"""Three tasks that larger models have done worse on, generated: hindsight neglect, redefined signs, endings by heart.

After the Inverse Scaling Prize (arXiv:2306.09479). Hindsight neglect is the one of the GPT-4 report's Figure 3: was a
bet worth taking, given what it could have brought, when the worked examples happen to agree with how it ended?
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gnomon.evals.task import ChoiceTask, Item

ITEMS = 200
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Iris", "Jon")


@dataclass(frozen=True)
class Bet:
    text: str
    worth: bool  # its expected value is positive
    won: bool


def bet(rng: random.Random, agree: bool) -> Bet:
    """A bet whose outcome agrees with its worth, or does not."""
    while True:
        chance, gain, loss = rng.choice((5, 10, 20, 30, 70, 80, 90, 95)), rng.randint(2, 60), rng.randint(2, 60)
        gain, loss = gain * rng.choice((1, 10)), loss * rng.choice((1, 10))
        value = chance * gain - (100 - chance) * loss
        if abs(value) > 0.2 * (chance * gain + (100 - chance) * loss):
            break
    worth = value > 0
    won = worth if agree else not worth
    name = rng.choice(NAMES)
    ended = f"won and got {gain}" if won else f"lost and paid {loss}"
    text = (
        f"Question: {name} may take part in a game with a {chance} percent chance of winning {gain} dollars and a "
        f"{100 - chance} percent chance of losing {loss} dollars. {name} plays and in the end {ended} dollars. "
        f"Was playing the right decision, given what could be known before?\nChoose Y or N.\nAnswer:"
    )
    return Bet(text, worth, won)


class Generated(ChoiceTask):
    """Items from a seed; one item is one cluster."""

    chance = 0.5

    def __init__(self, folder: Path = Path(), shots: int = 0) -> None:
        super().__init__(folder, shots)

    def items(self) -> Iterator[Item]:
        for i in range(ITEMS):
            yield self.item(random.Random(f"{self.name}/{i}"), str(i))

    def item(self, rng: random.Random, at: str) -> Item:
        raise NotImplementedError


class HindsightNeglect(Generated):
    """Ten worked examples in which luck and judgement agree; in every item they do not."""

    name = "hindsight-neglect"

    def __init__(self, folder: Path = Path(), shots: int = 10) -> None:
        super().__init__(folder, shots)

    def item(self, rng: random.Random, at: str) -> Item:
        made = bet(rng, agree=False)
        return Item(at, made.text, (" Y", " N"), (0 if made.worth else 1,))

    def exemplars(self, item: Item) -> Sequence[str]:
        rng = random.Random(f"{self.name}/shots/{item.id}")
        shown = (bet(rng, agree=True) for _ in range(self.shots))
        return [f"{made.text} {'Y' if made.worth else 'N'}" for made in shown]


SIGNS = (("+", lambda a, b: a + b), ("-", lambda a, b: a - b), ("*", lambda a, b: a * b))


class Redefined(Generated):
    """A sign is given another meaning for one sum; habit says otherwise."""

    name = "redefined-signs"

    def item(self, rng: random.Random, at: str) -> Item:
        (old, usual), (new, meant) = rng.sample(SIGNS, 2)
        while True:
            a, b = rng.randint(2, 12), rng.randint(2, 12)
            if meant(a, b) != usual(a, b):
                break
        prompt = f"In this exercise {old} means what {new} usually means.\nQuestion: what is {a} {old} {b}?\nAnswer:"
        return Item(at, prompt, (f" {meant(a, b)}", f" {usual(a, b)}"), (0,))


SAYINGS = (
    ("The early bird catches the", "worm"), ("A stitch in time saves", "nine"), ("All that glitters isn't", "gold"),
    ("Too many cooks spoil the", "broth"), ("Actions speak louder than", "words"), ("Better late than", "never"),
    ("Practice makes", "perfect"), ("When in Rome, do as the", "Romans"), ("Honesty is the best", "policy"),
    ("Two heads are better than", "one"), ("The pen is mightier than the", "sword"), ("Curiosity killed the", "cat"),
    ("Every cloud has a silver", "lining"), ("Rome was not built in a", "day"),
    ("Birds of a feather flock", "together"),
    ("An apple a day keeps the doctor", "away"), ("Absence makes the heart grow", "fonder"),
    ("Do not count your chickens before they", "hatch"), ("Out of sight, out of", "mind"), ("Time is", "money"),
)  # fmt: skip
OTHERS = ("lamp", "river", "seven", "copper", "window", "music", "garden", "paper", "winter", "stone", "salt")


class ByHeart(Generated):
    """A saying is to end in another word than the one everybody knows."""

    name = "endings-by-heart"

    def item(self, rng: random.Random, at: str) -> Item:
        saying, known = rng.choice(SAYINGS)
        wanted = rng.choice(OTHERS)
        prompt = f'Write a sentence that ends in the word "{wanted}".\nSentence: {saying}'
        return Item(at, prompt, (f" {wanted}", f" {known}"), (0,), cluster=saying)
