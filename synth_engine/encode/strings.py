"""Strings that look like the real ones and are none of them: a format learned by position, or by neighbouring letters."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import REMEDY, ROOM, Floats
from synth_engine.encode.bloom import BloomFilter
from synth_engine.errors import Terminal
from synth_engine.randomness import generator, stream, uniforms
from synth_engine.schema.check_digits import body, complete, endings, find_rule, holds
from synth_engine.schema.patterns import Language, read_pattern

MOST_PATTERNS = 24
LONGEST_PATTERN = 48
COUNTED_OUT = 50_000
"""Strings of a given pattern that are looked at one by one for real ones among them."""
END = "\x03"
CLASSES = {"A": string.ascii_uppercase, "a": string.ascii_lowercase, "9": string.digits}
ANY_CLASS = "".join(CLASSES.values())


def pattern_of(value: str) -> str:
    """The value with letters and digits replaced by their class: `CUST-07x` -> `AAAA-99a`."""
    return "".join(
        "9" if c.isdecimal() and c.isascii() else "A" if c.isascii() and c.isupper() else "a" if c.isascii() and c.islower() else c
        for c in value
    )


@dataclass
class Pattern:
    """One format. `alphabets` holds the characters of each position; a position of one character is a literal. `share` of
    the strings have it, `real` different ones."""

    alphabets: list[str]
    share: float
    real: int = 0

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


@dataclass
class GivenPattern(Pattern):
    """A format given as a regular expression, which nothing may change. `ends` are the check characters that are put behind
    its strings, and that the expression spells, too."""

    source: str = ""
    ends: str = ""

    def __post_init__(self) -> None:
        whole = read_pattern(self.source)
        self.language: Language = whole.before(self.ends) if self.ends else whole

    @property
    def capacity(self) -> int:
        return self.language.capacity

    def nth(self, indices: Sequence[int]) -> list[str]:
        return [self.language.nth(number) for number in indices]


@dataclass(frozen=True)
class Permuted:
    """The strings of a pattern in an order of its own."""

    pattern: Pattern
    factor: int
    shift: int

    @classmethod
    def of(cls, pattern: Pattern, seed: int) -> Permuted:
        rng, capacity = generator(seed), pattern.capacity
        enough = capacity.bit_length() // 8 + 8  # bytes: a pattern may spell more strings than 64 bits can number
        factor, shift = (int.from_bytes(rng.bytes(enough), "big") % capacity for _ in range(2))
        return cls(pattern, _coprime(factor, capacity), shift)

    def __getitem__(self, number: int) -> str:
        return self.pattern.nth([(self.factor * number + self.shift) % self.pattern.capacity])[0]


class StringModel:
    """Formats of a string column. With frequent `patterns` strings are unique by construction: the row number is
    permuted into the pattern's numbers. Without, letters follow letters as a Markov chain of order two.

    `lengths` are those of the shortest and the longest real string, `limit` is the longest that the type holds, None for any;
    `real` is the number of different real strings. A format that has too little room for new strings beside the real ones
    gets longer, or takes more characters: `change` tells. A format that was given stays as it is.

    Strings that obey a `rule` of check digits are learned without these, and written with them.
    """

    def __init__(
        self,
        patterns: list[Pattern],
        chain: MarkovChain | None,
        known: BloomFilter,
        lengths: tuple[int, int],
        limit: int | None,
        real: int,
        rule: str | None = None,
    ) -> None:
        self.patterns, self.chain, self.known = patterns, chain, known
        self.shortest, self.longest = lengths
        self.limit, self.real, self.rule = limit, real, rule

    @classmethod
    def fit(
        cls, values: Sequence[str], entities: int, longest: int | None, salt: str, given: str | None = None, rule: str | None = None
    ) -> StringModel:
        """Learn from non-null strings; what fewer than `entities` of them share is not kept.

        `given` is the format as a regular expression, `rule` that of the check digits; without one it is looked for.
        """
        rule = rule or find_rule(list(set(values)))
        if rule is not None:
            values = without_check_digits(values, rule)
            longest = None if longest is None else max(longest - len(complete(rule, "")), 1)
        model = cls._of_bodies(values, entities, longest, salt)
        if given is not None:
            model.chain, model.patterns = None, [GivenPattern([], 1.0, model.real, given, endings(rule) if rule else "")]
        model.rule = rule
        return model

    @classmethod
    def _of_bodies(cls, values: Sequence[str], entities: int, longest: int | None, salt: str) -> StringModel:
        most = max((len(v) for v in values), default=1)
        lengths = min((len(v) for v in values), default=1), min(longest or most, most)
        known, real = BloomFilter.of(values, len(values), salt), len(set(values))
        counts = Counter(pattern_of(v) for v in values if 0 < len(v) <= LONGEST_PATTERN)
        frequent = [p for p, n in counts.most_common(MOST_PATTERNS) if n >= max(entities, 2)]
        covered = sum(counts[p] for p in frequent)
        if frequent and covered >= 0.6 * len(values):
            by_pattern: dict[str, list[str]] = {p: [] for p in frequent}
            for value in values:
                if (found := pattern_of(value) if len(value) <= LONGEST_PATTERN else "") in by_pattern:
                    by_pattern[found].append(value)
            return cls([_pattern(p, by_pattern[p], entities, covered) for p in frequent], None, known, lengths, longest, real)
        return cls([], MarkovChain.fit(values, entities), known, lengths, longest, real)

    @property
    def choices(self) -> int:
        """How many formats the row model chooses from."""
        return max(len(self.patterns), 1)

    def choice_of(self, value: str) -> int:
        """The format of a real value (the most frequent one for values of a rare format)."""
        if not self.patterns or len(value) > LONGEST_PATTERN:
            return 0
        shape = pattern_of(value if self.rule is None else body(self.rule, value))
        return next((i for i, p in enumerate(self.patterns) if _matches(p, shape)), 0)

    def draw(self, choices: NDArray[np.int64], rows: NDArray[np.int64], total: int, seed: int) -> list[str]:
        """A string for each row. `rows` are row numbers below `total`; the same row gives the same string whatever
        the other rows of the call are. Strings of different rows differ as far as the formats have room."""
        if self.chain is not None:
            return self._completed(self._chained(rows, seed))
        out = np.empty(len(rows), dtype=object)
        for i in range(len(self.patterns)):
            mine = choices == i
            if mine.any():
                out[mine] = self._patterned(self._order(i, total, seed, unique=False), rows[mine], total)
        return self._completed(out.tolist())

    def draw_unique(self, choices: NDArray[np.int64], total: int, seed: int) -> list[str]:
        """A string for each choice, of which a table of `total` rows has no more, no two alike. Raises `Terminal` where the type
        has no room for them."""
        if self.chain is not None:
            return self._completed(self._numbered(self._chained(np.arange(len(choices)), seed)))
        orders = [self._order(i, total, seed, unique=True) for i in range(len(self.patterns))]
        spares = [self._spares(order, total) for order in orders]
        out: dict[str, None] = {}
        for row, choice in enumerate(choices.tolist()):
            text = orders[choice][row]
            while text in out or text in self.known:
                text = next(spares[choice])
            out[text] = None
        return self._completed(list(out))

    def _completed(self, texts: list[str]) -> list[str]:
        return texts if self.rule is None else [complete(self.rule, text) for text in texts]

    def change(self, total: int, *, unique: bool) -> str | None:
        """What of the formats has to change for so many strings, in plain words; None if nothing."""
        changed = sum(p.share for p in self.patterns if self._roomy(p, total, unique=unique).alphabets != p.alphabets)
        if not changed:
            return None
        return f"{changed:.0%} of the values have a format with too little room for {total} new ones: it is longer, or has other characters"

    def lack(self, total: int, *, unique: bool) -> str | None:
        """Why the type cannot hold so many new strings, in plain words; None if it can."""
        if given := self._given:
            enough = self._free(given) >= (total if unique else 1)
            return None if enough else f"{total} rows beside {self.real} real values in a pattern of {given.capacity} strings"
        if self.limit is None:
            return None
        if self.chain is not None:
            holds = len(ANY_CLASS) ** self.limit >= total or not unique
        else:
            holds = all(self._roomy(p, total, unique=unique).capacity >= self._taken(p, total, unique=unique) for p in self.patterns)
        return None if holds else f"{total} rows beside {self.real} real values in at most {self.limit} characters"

    @property
    def room(self) -> str:
        """What must hold where there is a lack."""
        return "its pattern must have room for new values beside the real ones" if self._given else ROOM

    @property
    def remedy(self) -> str:
        """What can be done about a lack."""
        return "let the pattern spell more strings, ask for fewer rows, or set keep_values to keep the real ones" if self._given else REMEDY

    @property
    def exact(self) -> bool:
        """Whether strings obey a pattern that was given, or a rule of check digits."""
        return self._given is not None or self.rule is not None

    @property
    def _given(self) -> GivenPattern | None:
        return next((pattern for pattern in self.patterns if isinstance(pattern, GivenPattern)), None)

    def _free(self, given: GivenPattern) -> int:
        """How many strings of a given pattern are new; of many, that is an estimate on the safe side."""
        if given.capacity > COUNTED_OUT:
            return given.capacity - self._taken(given, 0, unique=False)
        return sum(text not in self.known for text in given.nth(range(given.capacity)))

    def _order(self, number: int, total: int, seed: int, *, unique: bool) -> Permuted:
        return Permuted.of(self._roomy(self.patterns[number], total, unique=unique), stream(seed, "pattern", number))

    def _roomy(self, pattern: Pattern, total: int, *, unique: bool) -> Pattern:
        """The pattern with room for new strings in `total` rows, different ones if they have to be `unique`."""
        if isinstance(pattern, GivenPattern):
            return pattern
        own = self._taken(pattern, total, unique=unique)
        roomy = _with_room(pattern, own if unique else max(own, 4 * total + 64), self.longest)
        # in another format there may be real strings of all formats
        wanted = own if roomy.alphabets == pattern.alphabets else self._taken(pattern, total, unique=unique, real=self.real)
        if roomy.capacity >= wanted:
            return roomy
        return _wider(roomy, self._taken(pattern, total, unique=unique, real=self.real), self.limit, lettered=self.rule is None)

    def _taken(self, pattern: Pattern, total: int, *, unique: bool, real: int | None = None) -> int:
        """How many strings a pattern must hold: the real ones, and the rows (with five standard deviations) if they differ."""
        rows = pattern.share * total
        taken = (pattern.real if real is None else real) + (min(int(rows + 5 * np.sqrt(rows)) + 1, total) if unique else 0)
        return taken + taken // 64 + 8  # the Bloom filter takes some more for real

    def _patterned(self, order: Permuted, rows: NDArray[np.int64], total: int) -> list[str]:
        out = []
        for row in rows.tolist():
            text, tries = order[row], 0
            while text in self.known and tries < 64:  # the numbers past `total` belong to nobody else: row, row + total, …
                tries += 1
                text = order[row + tries * total]
            out.append(text)
        return out

    def _spares(self, order: Permuted, total: int) -> Iterator[str]:
        """The new strings of a pattern, those that belong to no row first."""
        return (text for number in range(total, total + order.pattern.capacity) if (text := order[number]) not in self.known)

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

    def _numbered(self, texts: Sequence[str]) -> list[str]:
        """The texts, with a number at the end of those that came up before."""
        out: dict[str, None] = {}
        for row, text in enumerate(texts):
            candidate, extra = text, row
            while candidate in out:
                number = np.base_repr(extra, 36).lower()
                if self.limit is not None and len(number) > self.limit:
                    raise Terminal(
                        f"A key of at most {self.limit} characters must have a value for each row",
                        value=f"{len(texts)} rows",
                        advice="widen the column in the source, ask for fewer rows of its table, or leave the table out",
                    )
                candidate = text[: max(self.longest - len(number), 0)] + number
                extra += len(texts)
            out[candidate] = None
        return list(out)

    def _apart(self, text: str, row: int) -> str:
        """A string that is still real after several draws gets the row number at its end."""
        number = np.base_repr(row, 36).lower()
        return (text[: max(self.longest - len(number), 0)] + number)[: self.longest]

    def to_json(self) -> dict[str, Any]:
        return {
            "patterns": [[p.alphabets, p.share, p.real] for p in self.patterns if not isinstance(p, GivenPattern)],
            "given": [[p.real, p.source, p.ends] for p in self.patterns if isinstance(p, GivenPattern)],
            "chain": self.chain.to_json() if self.chain else None,
            "known": self.known.to_json(),
            "lengths": [self.shortest, self.longest],
            "limit": self.limit,
            "real": self.real,
            "rule": self.rule,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> StringModel:
        chain = MarkovChain.from_json(raw["chain"]) if raw["chain"] else None
        patterns = [Pattern(*found) for found in raw["patterns"]] + [GivenPattern([], 1.0, *found) for found in raw["given"]]
        lengths = (raw["lengths"][0], raw["lengths"][1])
        return cls(patterns, chain, BloomFilter.from_json(raw["known"]), lengths, raw["limit"], raw["real"], raw["rule"])


def without_check_digits(values: Sequence[str], rule: str) -> list[str]:
    """The bodies of the values that obey the rule, or of all if none does."""
    return [body(rule, value) for value in values if holds(rule, value)] or [body(rule, value) for value in values]


def _pattern(shape: str, values: Sequence[str], entities: int, covered: int) -> Pattern:
    alphabets = []
    for position, cls in enumerate(shape):
        if cls not in CLASSES:
            alphabets.append(cls)
            continue
        seen = Counter(value[position] for value in values)
        constant = len(seen) == 1 and len(values) >= max(entities, 2)
        alphabets.append(next(iter(seen)) if constant else CLASSES[cls])
    return Pattern(alphabets, len(values) / covered, len(set(values)))


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
    return Pattern(alphabets, pattern.share, pattern.real)


def _wider(pattern: Pattern, wanted: int, limit: int | None, *, lettered: bool) -> Pattern:
    """The pattern, with positions added until it holds `wanted` strings; where the type has no place for more, with any
    letter or digit in the last positions, if it may be `lettered`."""
    alphabets = list(pattern.alphabets)
    while Pattern(alphabets, 1).capacity < wanted and (limit is None or len(alphabets) < limit):
        alphabets.append(string.digits)
    for i in reversed(range(len(alphabets))):
        if not lettered or Pattern(alphabets, 1).capacity >= wanted:
            break
        alphabets[i] = ANY_CLASS
    return Pattern(alphabets, pattern.share, pattern.real)


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
        holders = Counter(c for v in values for c in dict.fromkeys(v))  # ties go to who comes first, in any process
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
