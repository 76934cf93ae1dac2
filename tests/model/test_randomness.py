"""Randomness is a pure function of seed, names and index."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.randomness import generator, stream, uniforms


def test_a_stream_is_known_by_its_names_and_no_two_names_run_together():
    assert stream(1, "a", "b") == stream(1, "a", "b")
    assert len({stream(1, "a", "b"), stream(1, "ab"), stream(1, "b", "a"), stream(2, "a", "b"), stream(1, "a", "b", 0)}) == 5
    assert 0 <= stream(0) < 2**63


def test_generators_of_one_purpose_draw_the_same():
    assert (generator(4, "x").random(5) == generator(4, "x").random(5)).all()
    assert (generator(4, "x").random(5) != generator(4, "y").random(5)).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**62), min_size=1, max_size=50), st.integers(0, 9))
def test_the_number_of_an_index_does_not_depend_on_the_others(key, index, lane):
    index = np.array(index, dtype=np.int64)
    whole = uniforms(key, index, lane)
    assert ((whole >= 0) & (whole < 1)).all()
    assert [uniforms(key, index[i : i + 1], lane)[0] for i in range(len(index))] == whole.tolist()


def test_numbers_are_even_and_lanes_and_keys_independent():
    index = np.arange(100_000)
    drawn = [uniforms(1, index), uniforms(1, index, 1), uniforms(2, index)]
    for u in drawn:
        assert np.bincount((u * 20).astype(int), minlength=20) == pytest.approx(np.full(20, 5000), rel=0.06)
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.02
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 0.02


DIGEST = """
from hashlib import sha256
from tests.model.conftest import CONFIG, generate
from tests.model.test_skeleton import tenants
from synth_engine.encode.strings import MarkovChain
from synth_engine.model.learning import learn

twin = generate(learn(*tenants(declared=True), CONFIG))
letters = MarkovChain.fit(["".join(map(chr, range(0x4E00 + i, 0x4E00 + i + 40))) for i in range(0, 400, 40) for _ in range(5)], 5).letters
print(sha256(str([letters, {name: table.to_pydict() for name, table in twin.items()}]).encode()).hexdigest())
"""


def test_the_order_that_a_process_keeps_sets_in_changes_nothing():
    """Python draws it anew for each process, unless it is told a seed."""

    def digest(hash_seed: int) -> str:
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
        found = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
        return found.stdout.strip()

    assert len({digest(hash_seed) for hash_seed in range(4)}) == 1
