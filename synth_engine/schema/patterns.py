"""A format that a person gives as a regular expression, as a numbered set of strings.

Of regular expressions it takes what spells a finite set: letters, classes (`[0-9A-F]`, `\\d`), `?`, `{n}`, `{m,n}`, groups and
alternatives. The expression becomes a deterministic automaton, so that each string has one number, however many ways lead to it.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from functools import lru_cache

LONGEST, MOST_STATES = 256, 20_000
PLAIN = frozenset(string.printable) - frozenset(".^$*+?{}[]()|\\")

Parts = list[tuple[frozenset[str], int]]


class UnreadablePattern(ValueError):
    """What of a regular expression is not supported, in plain words."""


@dataclass
class _Automaton:
    """Moves of a nondeterministic automaton: by one of some characters, or by none."""

    moves: list[Parts] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)

    def state(self) -> int:
        self.moves.append([])
        self.free.append([])
        if len(self.moves) > MOST_STATES:
            raise UnreadablePattern("it spells too many or too long strings")
        return len(self.moves) - 1

    def reached(self, states: frozenset[int]) -> frozenset[int]:
        """These states and all that are reached from them without a character."""
        found, waiting = set(states), list(states)
        while waiting:
            for following in self.free[waiting.pop()]:
                if following not in found:
                    found.add(following)
                    waiting.append(following)
        return frozenset(found)


class Language:
    """All strings that a pattern spells, in a fixed order: `nth` of the numbers below `capacity`."""

    def __init__(self, steps: list[list[tuple[str, int]]], accepting: frozenset[int]) -> None:
        self._steps, self._accepting = steps, accepting
        self._counts = [0] * len(steps)
        for state in reversed(_parents_first(steps)):
            self._counts[state] = (state in accepting) + sum(len(chars) * self._counts[to] for chars, to in steps[state])

    @property
    def capacity(self) -> int:
        """How many strings there are."""
        return self._counts[0]

    @property
    def longest(self) -> int:
        """Characters of the longest string."""
        lengths = [0] * len(self._steps)
        for state in reversed(_parents_first(self._steps)):
            lengths[state] = max((1 + lengths[to] for _, to in self._steps[state] if self._counts[to]), default=0)
        return lengths[0]

    def nth(self, number: int) -> str:
        """The string of a number below `capacity`: different numbers, different strings."""
        state = 0
        out: list[str] = []
        while True:
            if state in self._accepting:
                if number == 0:
                    return "".join(out)
                number -= 1
            for chars, to in self._steps[state]:
                held = len(chars) * self._counts[to]
                if number < held:
                    which, number = divmod(number, self._counts[to])
                    out.append(chars[which])
                    state = to
                    break
                number -= held

    def before(self, endings: str) -> Language:
        """The strings that stay in this language whichever of these characters is put at their end."""
        accepting = frozenset(
            state
            for state, steps in enumerate(self._steps)
            if all(any(c in chars and to in self._accepting for chars, to in steps) for c in endings)
        )
        return Language(self._steps, accepting)


@lru_cache(maxsize=64)
def read_pattern(pattern: str) -> Language:
    """The strings a regular expression spells. Raises `UnreadablePattern` naming the construct that is not supported."""
    automaton = _Automaton()
    start = automaton.state()
    reader = _Reader(pattern, automaton)
    end = reader.alternatives(start)
    if reader.at < len(pattern):
        raise UnreadablePattern(f"')' at character {reader.at + 1} closes nothing")
    language = _determined(automaton, start, end)
    if language.longest > LONGEST:
        raise UnreadablePattern(f"it spells strings of more than {LONGEST} characters")
    return language


class _Reader:
    """Reads a pattern from left to right; each method starts at a state of the automaton and returns the one it ends in."""

    def __init__(self, pattern: str, automaton: _Automaton) -> None:
        self.pattern, self.automaton, self.at = pattern, automaton, 0

    def alternatives(self, start: int) -> int:
        end = self.automaton.state()
        while True:
            at = self.automaton.state()
            self.automaton.free[start].append(at)
            while self._next() not in ("", "|", ")"):
                at = self._repeated(at)
            self.automaton.free[at].append(end)
            if self._next() != "|":
                return end
            self.at += 1

    def _repeated(self, start: int) -> int:
        """One item as often as the count behind it says."""
        item = self.at
        at = self._item(start)
        fewest, most = self._count()
        behind = self.at
        ends = [start] if fewest == 0 else []
        for turn in range(1, most + 1):
            if turn > 1:
                self.at = item
                at = self._item(at)
            if turn >= fewest:
                ends.append(at)
        end = self.automaton.state()
        for state in ends:
            self.automaton.free[state].append(end)
        self.at = behind
        return end

    def _item(self, start: int) -> int:
        found = self._next()
        if found == "(":
            return self._group(start)
        end = self.automaton.state()
        self.automaton.moves[start].append((self._class() if found == "[" else self._character(), end))
        return end

    def _group(self, start: int) -> int:
        opened = self.at + 1
        self.at += 1
        if self._next() == "?":
            if not self.pattern.startswith("?:", self.at):
                raise UnreadablePattern(f"'{self.pattern[self.at - 1 : self.at + 2]}' at character {opened} is not supported")
            self.at += 2
        end = self.alternatives(start)
        if self._next() != ")":
            raise UnreadablePattern(f"'(' at character {opened} is not closed")
        self.at += 1
        return end

    def _character(self) -> frozenset[str]:
        found = self._next()
        if found == "\\":
            return self._escaped()
        if found not in PLAIN and found.isascii():
            raise UnreadablePattern(f"{found!r} at character {self.at + 1} is not supported")
        self.at += 1
        return frozenset(found)

    def _escaped(self) -> frozenset[str]:
        found = self.pattern[self.at + 1 : self.at + 2]
        if found != "d" and (not found or found.isalnum()):
            raise UnreadablePattern(f"'\\{found}' at character {self.at + 1} is not supported")
        self.at += 2
        return frozenset(string.digits if found == "d" else found)

    def _class(self) -> frozenset[str]:
        opened = self.at + 1
        self.at += 1
        if self._next() == "^":
            raise UnreadablePattern(f"'[^' at character {opened} is not supported")
        members: set[str] = set()
        while self._next() != "]":
            if not self._next():
                raise UnreadablePattern(f"'[' at character {opened} is not closed")
            first = self._member()
            ranged = self._next() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", "")
            if not ranged:
                members |= first
                continue
            self.at += 1
            last = self._member()
            if len(first) != 1 or len(last) != 1 or min(first) > min(last):
                raise UnreadablePattern(f"the class at character {opened} has a range that runs backwards")
            members.update(map(chr, range(ord(min(first)), ord(min(last)) + 1)))
        self.at += 1
        if not members:
            raise UnreadablePattern(f"the class at character {opened} is empty")
        return frozenset(members)

    def _member(self) -> frozenset[str]:
        if self._next() == "\\":
            return self._escaped()
        self.at += 1
        return frozenset(self.pattern[self.at - 1])

    def _count(self) -> tuple[int, int]:
        """How often the item before may come, once if nothing says otherwise."""
        if self._next() == "?":
            self.at += 1
            fewest, most = 0, 1
        elif self._next() == "{":
            opened, closed = self.at + 1, self.pattern.find("}", self.at)
            bounds = self.pattern[self.at + 1 : max(closed, self.at)].split(",")
            if closed < 0 or len(bounds) > 2 or not all(b.isascii() and b.isdecimal() and len(b) <= 3 for b in bounds):
                raise UnreadablePattern(f"the count at character {opened} must be {{n}} or {{m,n}}")
            self.at = closed + 1
            fewest, most = int(bounds[0]), int(bounds[-1])
            if fewest > most or most > LONGEST:
                raise UnreadablePattern(f"the count at character {opened} must rise and be {LONGEST} at most")
        else:
            return 1, 1
        if self._next() in ("?", "+", "*", "{"):
            raise UnreadablePattern(f"{self._next()!r} at character {self.at + 1} is not supported after a count")
        return fewest, most

    def _next(self) -> str:
        return self.pattern[self.at : self.at + 1]


def _determined(automaton: _Automaton, start: int, end: int) -> Language:
    """The same strings by an automaton in which each character leads to one state."""
    first = automaton.reached(frozenset([start]))
    numbers, waiting = {first: 0}, [first]
    steps: list[list[tuple[str, int]]] = []
    while waiting:
        following: dict[str, set[int]] = {}
        for state in waiting.pop(0):
            for characters, to in automaton.moves[state]:
                for character in characters:
                    following.setdefault(character, set()).add(to)
        by_target: dict[int, list[str]] = {}
        reached: dict[frozenset[int], frozenset[int]] = {}
        for character in sorted(following):
            moved = frozenset(following[character])
            if moved not in reached:
                reached[moved] = automaton.reached(moved)
            target = reached[moved]
            if target not in numbers:
                if len(numbers) >= MOST_STATES:
                    raise UnreadablePattern("it spells the same strings in too many ways")
                numbers[target] = len(numbers)
                waiting.append(target)
            by_target.setdefault(numbers[target], []).append(character)
        steps.append([("".join(characters), to) for to, characters in by_target.items()])
    return Language(steps, frozenset(number for states, number in numbers.items() if end in states))


def _parents_first(steps: list[list[tuple[str, int]]]) -> list[int]:
    """The states such that each stands before those it leads to; there is no way back, for no count is endless."""
    entering = [0] * len(steps)
    for edges in steps:
        for _, to in edges:
            entering[to] += 1
    ready, order = [0], []
    while ready:
        state = ready.pop()
        order.append(state)
        for _, to in steps[state]:
            entering[to] -= 1
            if not entering[to]:
                ready.append(to)
    return order
