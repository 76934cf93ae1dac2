"""Which slots of a table tell anything of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from synth_engine.encode.base import Floats
from synth_engine.encode.groups import token_groups

GROUPS = 6
"""Groups that the tokens of a slot are put into."""

SAMPLED_ROWS = 50_000
"""Rows, evenly spread, that decide."""

DOUBT = 3.0
"""Standard deviations by which two slots must agree beyond what independent ones do by chance."""


def related_slots(
    tokens: NDArray[np.int32], columns: Sequence[int], positions: Sequence[Floats | None], summaries: int = 0
) -> NDArray[np.bool_]:
    """For tokens of shape (rows, slots) which slots depend on each other, shape (slots, slots); those of one column always do, and the
    first `summaries` tell of all: what few rows have, hubs, is beyond any test.

    Pair by pair Pearson's test of independence, with the exact mean and variance of its statistic under permutation, which hold
    however few rows a token has (Dawson, "A simplified expression for the variance of the chi-square function on a contingency
    table", Biometrika 1954). Tokens are compared in groups, neighbours in their natural order; those without an order also one by
    one with the other slot's groups. Tokens that are not learned (where a step has no reference) count as all others: two slots
    that lack them together are related.
    """
    sample = tokens[:: max(1, -(-len(tokens) // SAMPLED_ROWS))]
    slots, rows = tokens.shape[1], len(sample)
    ordered = [bool(positions) and positions[s] is not None for s in range(slots)]
    group = np.stack([token_groups(sample[:, s], positions[s] if ordered[s] else None, GROUPS) for s in range(slots)], axis=1)
    one_hot = np.zeros((rows, slots * GROUPS), dtype=np.float32)
    one_hot[np.arange(rows)[:, None], np.arange(slots) * GROUPS + group] = 1.0
    together = one_hot.T @ one_hot
    share = one_hot.sum(axis=0, dtype=np.float64).reshape(slots, GROUPS)
    column = np.array(columns)
    related = column[:, None] == column[None, :]
    for slot in range(slots):
        related[slot] |= _depend(together[slot * GROUPS : (slot + 1) * GROUPS], share, rows)
        if not ordered[slot] and sample[:, slot].max(initial=0) >= GROUPS:
            found, code = np.unique(sample[:, slot], return_inverse=True)
            tokens_one_hot = csr_array((np.ones(rows, np.float32), code.reshape(-1), np.arange(rows + 1)), shape=(rows, len(found)))
            related[slot] |= _depend(tokens_one_hot.T @ one_hot, share, rows)
    related |= related.T
    related[:summaries] = True
    return np.asarray(related, dtype=np.bool_)


def _depend(together: NDArray[np.float32], share: Floats, rows: int) -> NDArray[np.bool_]:
    """Whether each slot depends on one, shape (slots,): how often its groups meet the one's tokens, shape (tokens, slots * GROUPS)."""
    if rows < 4:
        return np.zeros(len(share), dtype=np.bool_)
    met = together.astype(np.float64).reshape(-1, *share.shape)  # squares in single precision would lie by more than chance does
    count = met[:, 0].sum(axis=1)
    meetings = np.divide(met**2, share, out=np.zeros_like(met), where=share > 0).sum(axis=2)
    statistic = rows * (meetings / np.maximum(count, 1.0)[:, None]).sum(axis=0) - rows
    mean, variance = expected(count[:, None], share.T, rows)
    depend: NDArray[np.bool_] = statistic - mean > DOUBT * np.sqrt(np.maximum(variance, 0.0)) + 1e-6
    return depend


def expected(first: Floats, second: Floats, rows: int) -> tuple[Floats, Floats]:
    """Mean and variance of Pearson's statistic where chance alone pairs the tokens of two slots that have these counts, shapes
    (tokens, 1) and (tokens, slots), of so many rows, four at least (Dawson 1954)."""
    freedom, spread, unevenness = _moments(first, rows)
    freedoms, spreads, unevennesses = _moments(second, rows)
    mean = rows / (rows - 1) * freedom * freedoms
    variance = 2 * rows / (rows - 3) * (spread - unevenness) * (spreads - unevennesses) + rows**2 / (rows - 1) * unevenness * unevennesses
    return mean, variance


def _moments(counts: Floats, rows: int) -> tuple[Floats, Floats, Floats]:
    """Of counts of tokens (tokens, slots) the degrees of freedom and Dawson's two terms, shape (slots,) each."""
    kinds = (counts > 0).sum(axis=0)
    inverse = np.divide(rows, counts, out=np.zeros_like(counts), where=counts > 0).sum(axis=0)
    return (kinds - 1).astype(np.float64), (kinds - 1) * (rows - kinds) / (rows - 1), (inverse - kinds**2) / (rows - 2)
