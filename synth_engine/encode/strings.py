"""Strings that look like the real ones and are none of them: a format learned by position, or by neighbouring letters."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.bloom import BloomFilter
from synth_engine.randomness import generator, stream, uniforms

MOST_PATTERNS = 24
LONGEST_PATTERN = 48
END = "\x03"
CLASSES = {"A": string.ascii_uppercase, "a": string.ascii_lowercase, "9": string.digits}


def pattern_of(value: str) -> str:
    """The value with letters and digits replaced by their class: `CUST-07x` -> `AAAA-99a`."""
    return "".join(
        "9" if c.isdecimal() and c.isascii() else "A" if c.isascii() and c.isupper() else "a" if c.isascii() and c.islower() else c
        for c in value
    )


@dataclass
class Pattern:
    """One format. `alphabets` holds the characters of each position; a position of one character is a literal."""

    alphabets: list[str]
    share: float

    @property
    def capacity(self) -> int:
        total = 1
        for alphabet in self.alphabets:
            total *= len(alphabet)
        return total

    def nth(self, indices: Sequence[int]) -> list[str]:
        """The strings of these numbers in a mixed radix, rightmost position first: different numbers, different strings."""
        out = []
        for number in indices:
            characters = []
            for alphabet in reversed(self.alphabets):
                number, digit = divmod(number, len(alphabet))
                characters.append(alphabet[digit])
            out.append("".join(reversed(characters)))
        return out


class StringModel:
    """Formats of a string column. With frequent `patterns` strings are unique by construction: the row number is
    permuted into the pattern's numbers. Without, letters follow letters as a Markov chain of order two."""

    def __init__(self, patterns: list[Pattern], chain: MarkovChain | None, known: BloomFilter, lengths: tuple[int, int]) -> None:
        self.patterns, self.chain, self.known = patterns, chain, known
        self.shortest, self.longest = lengths

    @classmethod
    def fit(cls, values: Sequence[str], entities: int, longest: int | None, salt: str) -> StringModel:
        """Learn from non-null strings; what fewer than `entities` of them share is not kept."""
        most = max((len(v) for v in values), default=1)
        limit = min((len(v) for v in values), default=1), min(longest or most, most)
        known = BloomFilter.of(values, len(values), salt)
        counts = Counter(pattern_of(v) for v in values if 0 < len(v) <= LONGEST_PATTERN)
        frequent = [p for p, n in counts.most_common(MOST_PATTERNS) if n >= max(entities, 2)]
        covered = sum(counts[p] for p in frequent)
        if frequent and covered >= 0.6 * len(values):
            by_pattern: dict[str, list[str]] = {p: [] for p in frequent}
            for value in values:
                if (found := pattern_of(value) if len(value) <= LONGEST_PATTERN else "") in by_pattern:
                    by_pattern[found].append(value)
            return cls([_pattern(p, by_pattern[p], entities, covered) for p in frequent], None, known, limit)
        return cls([], MarkovChain.fit(values, entities), known, limit)

    @property
    def choices(self) -> int:
        """How many formats the row model chooses from."""
        return max(len(self.patterns), 1)

    def choice_of(self, value: str) -> int:
        """The format of a real value (the most frequent one for values of a rare format)."""
        if not self.patterns or len(value) > LONGEST_PATTERN:
            return 0
        shape = pattern_of(value)
        return next((i for i, p in enumerate(self.patterns) if _matches(p, shape)), 0)

    def draw(self, choices: NDArray[np.int64], rows: NDArray[np.int64], total: int, seed: int) -> list[str]:
        """A string for each row. `rows` are row numbers below `total`; the same row gives the same string whatever
        the other rows of the call are. Strings of different rows differ as far as the formats have room."""
        if self.chain is not None:
            return self._chained(rows, seed)
        out = np.empty(len(rows), dtype=object)
        for i, pattern in enumerate(self.patterns):
            mine = choices == i
            if mine.any():
                out[mine] = self._patterned(pattern, rows[mine], total, stream(seed, "pattern", i))
        return [str(v)[: self.longest] for v in out]

    def _patterned(self, pattern: Pattern, rows: NDArray[np.int64], total: int, seed: int) -> list[str]:
        pattern = _with_room(pattern, 4 * total + 64, self.longest)
        capacity = pattern.capacity
        rng = generator(seed)
        factor = _coprime(int(rng.integers(1, 1 << 62)) % capacity, capacity)
        shift = int(rng.integers(0, 1 << 62)) % capacity
        out = []
        for row in rows.tolist():
            candidate, tries = row, 0
            text = pattern.nth([(factor * candidate + shift) % capacity])[0]
            while text in self.known and tries < 64:  # the numbers past `total` belong to nobody else: row, row + total, …
                tries += 1
                candidate = row + tries * total
                text = pattern.nth([(factor * candidate + shift) % capacity])[0]
            out.append(text)
        return out

    def _chained(self, rows: NDArray[np.int64], seed: int) -> list[str]:
        assert self.chain is not None
        lengths = self.shortest, self.longest
        texts = self.chain.draw(rows, lengths, stream(seed, "chain", 0))
        for attempt in range(1, 6):
            again = np.array([i for i, text in enumerate(texts) if text in self.known], dtype=np.int64)
            if not len(again):
                break
            for i, text in zip(again.tolist(), self.chain.draw(rows[again], lengths, stream(seed, "chain", attempt)), strict=True):
                texts[i] = text
        return [self._apart(text, row) if text in self.known else text for text, row in zip(texts, rows.tolist(), strict=True)]

    def _apart(self, text: str, row: int) -> str:
        """A string that is still real after several draws gets the row number at its end."""
        number = np.base_repr(row, 36).lower()
        return (text[: max(self.longest - len(number), 0)] + number)[: self.longest]

    def to_json(self) -> dict[str, Any]:
        return {
            "patterns": [[p.alphabets, p.share] for p in self.patterns],
            "chain": self.chain.to_json() if self.chain else None,
            "known": self.known.to_json(),
            "lengths": [self.shortest, self.longest],
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> StringModel:
        chain = MarkovChain.from_json(raw["chain"]) if raw["chain"] else None
        return cls(
            [Pattern(a, s) for a, s in raw["patterns"]], chain, BloomFilter.from_json(raw["known"]), (raw["lengths"][0], raw["lengths"][1])
        )


def _pattern(shape: str, values: Sequence[str], entities: int, covered: int) -> Pattern:
    alphabets = []
    for position, cls in enumerate(shape):
        if cls not in CLASSES:
            alphabets.append(cls)
            continue
        seen = Counter(value[position] for value in values)
        constant = len(seen) == 1 and len(values) >= max(entities, 2)
        alphabets.append(next(iter(seen)) if constant else CLASSES[cls])
    return Pattern(alphabets, len(values) / covered)


def _matches(pattern: Pattern, shape: str) -> bool:
    if len(pattern.alphabets) != len(shape):
        return False
    return all(pattern_of(alphabet[0]) == cls for alphabet, cls in zip(pattern.alphabets, shape, strict=True))


def _with_room(pattern: Pattern, wanted: int, longest: int) -> Pattern:
    """The pattern, with literals freed and then positions added until it holds `wanted` strings (or is full)."""
    alphabets = list(pattern.alphabets)
    for i in reversed(range(len(alphabets))):
        if Pattern(alphabets, 1).capacity >= wanted:
            break
        alphabets[i] = CLASSES.get(pattern_of(alphabets[i][0]), alphabets[i])
    while Pattern(alphabets, 1).capacity < wanted and len(alphabets) < longest:
        last = alphabets[-1] if alphabets and len(alphabets[-1]) > 1 else string.digits
        alphabets.append(last)
    return Pattern(alphabets, pattern.share)


def _coprime(start: int, modulus: int) -> int:
    candidate = start | 1
    while np.gcd.reduce(np.array([candidate % modulus or 1, modulus], dtype=object)) != 1 or candidate % modulus == 0:
        candidate += 2
        if modulus == 1:
            return 1
    return candidate % modulus


@dataclass
class MarkovChain:
    """Letters that follow letters. `table[(a * n + b), c]` is the cumulated chance of letter c after a, b."""

    letters: str
    table: Floats

    @classmethod
    def fit(cls, values: Sequence[str], entities: int) -> MarkovChain:
        holders = Counter(c for v in values for c in set(v))
        letters = END + "".join(sorted(c for c, n in holders.most_common(95) if n >= entities and c != END))
        if len(letters) == 1:
            letters = END + string.ascii_lowercase
            even = np.ones((len(letters) ** 2, len(letters)))
            even[0, 0] = 0  # no empty strings
            return cls(letters, _cumulated(even))
        n, code = len(letters), {c: i for i, c in enumerate(letters)}
        second = np.zeros((n * n, n))
        for value in values:
            a = b = 0
            for c in [*value[:200], END]:
                if (k := code.get(c)) is None:
                    continue
                second[a * n + b, k] += 1
                a, b = b, k
        first = second.reshape(n, n, n).sum(axis=0)  # what follows one letter, whatever stood before
        common = first.sum(axis=0) + 1e-3
        first = first + common[None, :] / common.sum()
        thin = second < entities  # a transition that few values make would spell those values
        second = np.where(thin, 0, second) + 0.5 * np.tile(first / first.sum(axis=1, keepdims=True), (n, 1))
        second[0, 0] = 0  # no empty strings
        return cls(letters, _cumulated(second))

    def draw(self, rows: NDArray[np.int64], lengths: tuple[int, int], seed: int) -> list[str]:
        """A string for each row, of `lengths` (shortest, longest) characters."""
        n = len(self.letters)
        shortest, longest = lengths
        a = np.zeros(len(rows), dtype=np.int64)
        b = np.zeros(len(rows), dtype=np.int64)
        alive = np.arange(len(rows))
        written = np.zeros((len(rows), min(longest, 200)), dtype=np.int64)
        for position in range(written.shape[1]):
            chances = self.table[a[alive] * n + b[alive]]
            u = uniforms(seed, rows[alive], position)
            if position < shortest:  # letter 0 is the end: too early, so draw among the others
                u = chances[:, 0] + u * (1 - chances[:, 0])
            c = np.minimum((chances <= u[:, None]).sum(axis=1), n - 1)
            written[alive, position] = c
            a[alive], b[alive] = b[alive], c
            alive = alive[c != 0]
            if not len(alive):
                break
        letters = np.array(list(self.letters), dtype=object)  # numpy's own strings end at the first NUL
        return ["".join(letters[row[: int(np.argmin(row != 0)) if (row == 0).any() else len(row)]]) for row in written]

    def to_json(self) -> dict[str, Any]:
        rows, columns = np.nonzero(np.diff(self.table, axis=1, prepend=0))
        chances = np.diff(self.table, axis=1, prepend=0)[rows, columns]
        return {
            "letters": self.letters,
            "rows": rows.tolist(),
            "columns": columns.tolist(),
            "chances": [float(f"{c:.6g}") for c in chances],
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> MarkovChain:
        n = len(raw["letters"])
        weights = np.zeros((n * n, n))
        weights[raw["rows"], raw["columns"]] = raw["chances"]
        return cls(raw["letters"], _cumulated(weights))


def _cumulated(weights: Floats) -> Floats:
    total = weights.sum(axis=1, keepdims=True)
    chances = np.divide(weights, total, out=np.full_like(weights, 1 / weights.shape[1]), where=total > 0)
    result: Floats = np.cumsum(chances, axis=1)
    return result
