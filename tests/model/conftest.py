"""One small model that the tests of learning and generation share."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.state import Model
from tests.model import shop

CONFIG = Config.build({"training": {"size": "small", "max_epochs": 2, "device": "cpu"}})

Generate = Callable[..., dict[str, pa.Table]]


def generate(model: Model, rows: dict[str, int] | None = None, seed: int = 0, batch_rows: int = 10**6) -> dict[str, pa.Table]:
    """All tables of a model."""
    made = Generation(model, rows or {}, seed).run()
    return {name: pa.Table.from_batches(made.batches(name, batch_rows)) for name in model.tables}


@pytest.fixture(scope="session")
def real() -> dict[str, pa.Table]:
    return shop.tables()


@pytest.fixture(scope="session")
def model(real: dict[str, pa.Table]) -> Model:
    return learn(shop.SCHEMA, real, CONFIG)


@pytest.fixture(scope="session")
def twin(model: Model) -> dict[str, pa.Table]:
    return generate(model)
