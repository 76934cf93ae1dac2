"""Whatever a model says holds in every row does, in random warehouses and at other numbers of rows."""

from __future__ import annotations

import pytest

from synth_engine.config import Config
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from tests.model.conftest import generate
from tests.model.random_rules import NAMES, broken, warehouse

CONFIG = Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}})


@pytest.mark.parametrize("seed", range(12))
def test_rules_hold_in_every_row(seed: int):
    schema, tables = warehouse(seed)
    model = learn(schema, tables, CONFIG)
    rules = model.rules()
    assert len(rules) > 1 and all(rule.split(".")[0] in NAMES for rule in rules)
    for rows in ({}, {"orders": 700}, {"regions": 7, "customers": 50}):
        twin = {name: table.to_pandas() for name, table in generate(model, rows, seed=seed).items()}
        assert broken(rules, twin) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [{"structure": "original"}, {"keep": ["regions"]}])
def test_rules_hold_beside_kept_tables_and_in_the_sources_graph(settings: dict[str, object], seed: int):
    schema, tables = warehouse(seed)
    model = learn(schema, tables, CONFIG.model_copy(update=settings))
    made = Generation(model, {}, seed, kept={name: tables[name] for name in model.kept}).run()
    twin = {name: next(made.batches(name, 10**6)).to_pandas() for name in model.tables}
    assert broken(model.rules(), twin) == []
