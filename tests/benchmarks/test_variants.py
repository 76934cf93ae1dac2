"""Ablations: each variant takes the place of a part that exists, learns nevertheless, and leaves the engine as it was."""

from __future__ import annotations

import pytest

from benchmarks.variants import VARIANTS
from synth_engine.library import generate, train
from tests.benchmarks.shop import SCHEMA, shop

QUICKLY = {"training": {"size": "small", "max_epochs": 2}}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_replaces_its_parts_and_puts_them_back(name: str) -> None:
    variant = VARIANTS[name]
    before = {part: getattr(*part) for part in variant.changes}
    with variant.applied():
        assert all(getattr(*part) is other for part, other in variant.changes.items())
    assert {part: getattr(*part) for part in variant.changes} == before


@pytest.mark.parametrize("name", ["no-summaries", "one-parent", "no-siblings", "any-order", "random-order"])
def test_without_a_part_the_engine_learns_another_model(name: str) -> None:
    tables = shop(0)
    whole = generate(train(tables, SCHEMA, settings=QUICKLY))
    with VARIANTS[name].applied():
        less = generate(train(tables, SCHEMA, settings=QUICKLY))
    assert {table: rows.num_rows for table, rows in less.items()}.keys() == whole.keys()
    assert any(not less[table].equals(whole[table]) for table in whole)
