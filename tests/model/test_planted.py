"""Dependences planted between tables come out: children of both parents and of earlier siblings, who goes with whom, degrees."""

from __future__ import annotations

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.model.learning import learn
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from tests.model.conftest import generate

CUSTOMERS, SHOPS, ORDERS = 900, 600, 7_000
SHARES = [0.4, 0.3, 0.2, 0.1]
AT_HOME = 0.75
"""Share of the orders that stay in the customer's region; others go anywhere."""


def _id(name: str) -> Column:
    return Column(name, Kind.IDENTIFIER, "int64", False)


def _number(name: str) -> Column:
    return Column(name, Kind.DECIMAL, "float64", False)


SCHEMA = Schema.of(
    [
        Table("customers", (_id("id"), _number("wealth"), Column("region", Kind.CATEGORY, "string", False)), ("id",)),
        Table("shops", (_id("id"), _number("price"), Column("region", Kind.CATEGORY, "string", False)), ("id",)),
        Table(
            "orders",
            (_id("id"), _id("customer"), _id("shop"), _number("amount"), _number("tip")),
            ("id",),
            foreign_keys=(ForeignKey(("customer",), "customers", ("id",)), ForeignKey(("shop",), "shops", ("id",))),
        ),
    ]
)


def planted(seed: int) -> dict[str, pa.Table]:
    """Amounts follow wealth, price, the order before and whether the regions are the same; tips follow wealth times price. The
    wealthy order more, dear shops sell more, and two orders in three or more stay in their region."""
    rng = np.random.default_rng(seed)
    wealth, price = rng.normal(size=CUSTOMERS), rng.normal(size=SHOPS)
    home, place = rng.choice(4, CUSTOMERS, p=SHARES), rng.choice(4, SHOPS, p=SHARES)
    eager, dear = np.exp(0.5 * wealth), np.exp(0.6 * price)
    customer = np.sort(rng.choice(CUSTOMERS, ORDERS, p=eager / eager.sum()))
    shop = rng.choice(SHOPS, ORDERS, p=dear / dear.sum())
    for region in range(4):
        near = np.flatnonzero(place == region)
        stays = np.flatnonzero((home[customer] == region) & (rng.random(ORDERS) < AT_HOME))
        shop[stays] = rng.choice(near, len(stays), p=dear[near] / dear[near].sum())
    noise, amount, before = 0.3 * rng.normal(size=ORDERS), np.empty(ORDERS), 0.0
    own = wealth[customer] + 0.8 * price[shop] + 0.8 * (home[customer] == place[shop]) + noise
    for row in range(ORDERS):
        before = before if row and customer[row] == customer[row - 1] else 0.0
        amount[row] = before = own[row] + 0.5 * before
    tip = 0.5 * amount + wealth[customer] * price[shop] + 0.3 * rng.normal(size=ORDERS)
    names = np.array(["north", "south", "east", "west"])
    return {
        "customers": pa.table({"id": np.arange(CUSTOMERS) + 1, "wealth": wealth, "region": names[home].tolist()}),
        "shops": pa.table({"id": np.arange(SHOPS) + 1, "price": price, "region": names[place].tolist()}),
        "orders": pa.table({"id": np.arange(ORDERS) + 1, "customer": customer + 1, "shop": shop + 1, "amount": amount, "tip": tip}),
    }


def joined(tables: dict[str, pa.Table]) -> pd.DataFrame:
    """The orders with all that their parents have, and with the amount of the customer's order before."""
    customers, shops, orders = (tables[name].to_pandas() for name in ("customers", "shops", "orders"))
    rows = orders.merge(customers.rename(columns={"id": "customer", "region": "home"}), on="customer")
    rows = rows.merge(shops.rename(columns={"id": "shop", "region": "place"}), on="shop").sort_values(["customer", "id"])
    rows["before"] = rows.groupby("customer")["amount"].shift(1).fillna(0.0)
    rows["at_home"] = rows["home"] == rows["place"]
    return rows


def predicted(trained_on: pd.DataFrame, real: pd.DataFrame, column: str) -> float:
    """R2 on real rows of a regression learned on others."""
    inputs = ["wealth", "price", "before", "at_home"]
    data = lightgbm.Dataset(trained_on[inputs].astype(float), label=trained_on[column])
    booster = lightgbm.train({"verbose": -1, "seed": 0, "deterministic": True, "force_row_wise": True}, data, 100)
    wrong = real[column] - booster.predict(real[inputs].astype(float))
    return float(1 - (wrong**2).sum() / ((real[column] - real[column].mean()) ** 2).sum())


def follows(rows: pd.DataFrame, key: str, trait: str) -> float:
    """Correlation of a parent's number of children with its trait, over parents with children."""
    parents = rows.groupby(key)[trait].agg(["size", "first"])
    return float(parents.corr().iloc[0, 1])


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    return joined(planted(0))


@pytest.fixture(scope="module")
def synthetic() -> pd.DataFrame:
    return joined(generate(learn(SCHEMA, planted(0), Config.build({"training": {"device": "cpu"}}))))


@pytest.mark.parametrize("column", ["amount", "tip"])
def test_children_depend_on_all_their_parents_and_on_earlier_siblings(real, synthetic, column):
    unseen = joined(planted(1))
    assert predicted(synthetic, unseen, column) > 0.9 * predicted(real, unseen, column)


def test_parents_go_together_as_they_did(real, synthetic):
    assert synthetic["at_home"].mean() > 0.85 * real["at_home"].mean()
    wanted = pd.crosstab(real["home"], real["place"], normalize="all")
    made = pd.crosstab(synthetic["home"], synthetic["place"], normalize="all")
    assert 0.5 * float((wanted - made).abs().to_numpy().sum()) < 0.15


def test_degrees_depend_on_either_parent(real, synthetic):
    for key, trait in (("customer", "wealth"), ("shop", "price")):
        assert follows(synthetic, key, trait) > 0.7 * follows(real, key, trait)
