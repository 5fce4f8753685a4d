"""The hash of category values: one number for a value in a column, in a dictionary and alone; stable for ever."""

import hashlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raypipe.features._hashing import bucket, buckets, hash_columns, hash_value

seeds = st.integers(0, 2**64 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
whole = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("value", "seed", "expected"),
    [
        ("a", 0, 10412465725731384436),
        ("", 0, 17939816053142439093),
        ("é", 7, 5751924974128169121),
        (1, 0, 12984218046958732623),
        (-(2**63), 7, 15303625708340380854),
        (True, 0, 9000505999856298371),
    ],
)
def test_the_hash_of_a_value_never_changes(value: str | int, seed: int, expected: int) -> None:
    assert hash_value(value, seed=seed) == expected


def test_another_process_has_the_same_hash() -> None:
    code = "from raypipe.features._hashing import hash_value as h; print(h('x', seed=5), h(5, seed=5))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "1"})
    assert done.stdout.split() == [str(hash_value("x", seed=5)), str(hash_value(5, seed=5))]


def test_text_is_hashed_by_blake2b_as_documented() -> None:
    made = hashlib.blake2b("naïve".encode(), digest_size=8, salt=(9).to_bytes(8, "little"), person=b"raypipe string")
    assert hash_value("naïve", seed=9) == int.from_bytes(made.digest(), "little")


def test_whole_numbers_are_the_sequence_of_splitmix64() -> None:
    start = hashlib.blake2b(digest_size=8, salt=(9).to_bytes(8, "little"), person=b"raypipe int64").digest()
    state, sequence = int.from_bytes(start, "little"), []
    for _ in range(5):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        sequence.append(z ^ z >> 31)
    assert [hash_value(value, seed=9) for value in range(5)] == sequence


def forms(cells: pa.Array) -> list[pa.Array]:
    """The same cells as a column, as a slice, and in a dictionary, also one with values that no row has."""
    coded = cells.dictionary_encode()
    larger = pa.concat_arrays([cells, pa.array(["unused", None] if pa.types.is_string(cells.type) else [1, None], cells.type)])
    encoded_nulls = cells.dictionary_encode(null_encoding="encode")
    sliced = pa.concat_arrays([cells[:1], cells])[len(cells[:1]) :]
    return [cells, sliced, coded, encoded_nulls, larger.dictionary_encode()[: len(cells)]]


@given(values=st.lists(st.none() | texts, max_size=80), seed=seeds)
@example(values=[None] * 40, seed=0)
@example(values=["", "x" * 10_000, "é", "e\u0301", "\x00", "a\x00", "a", None] * 10, seed=2**64 - 1)
def test_text_has_the_same_hash_in_a_column_and_alone(values: list[str | None], seed: int) -> None:
    expected = [0 if value is None else hash_value(value, seed=seed) for value in values]
    for cells in forms(pa.array(values, pa.string())):
        found = hash_columns(cells, seed=seed)
        assert found.dtype == np.uint64
        assert found.tolist() == expected


@given(values=st.lists(st.none() | whole, max_size=80), seed=seeds)
@example(values=[-(2**63), 2**63 - 1, -1, 0, None], seed=2**64 - 1)
def test_whole_numbers_have_the_same_hash_in_a_column_and_alone(values: list[int | None], seed: int) -> None:
    expected = [0 if value is None else hash_value(value, seed=seed) for value in values]
    for cells in forms(pa.array(values, pa.int64())):
        assert hash_columns(cells, seed=seed).tolist() == expected


@given(values=st.lists(st.none() | st.booleans(), max_size=80), seed=seeds)
def test_booleans_have_the_same_hash_in_a_column_and_alone(values: list[bool | None], seed: int) -> None:
    expected = [0 if value is None else hash_value(value, seed=seed) for value in values]
    assert hash_columns(pa.array(values, pa.bool_()), seed=seed).tolist() == expected


@pytest.mark.parametrize("text_type", [pa.large_string(), pa.string_view()])
def test_text_of_any_layout_has_one_hash(text_type: pa.DataType) -> None:
    values = ["a", "b", None] * 20
    expected = hash_columns(pa.array(values, pa.string()), seed=3).tolist()
    assert hash_columns(pa.array(values, pa.string()).cast(text_type), seed=3).tolist() == expected


@pytest.mark.parametrize("values", [["1", 1, True], ["0", 0, False], ["True", True, "true"]])
def test_equal_looking_values_of_different_types_differ(values: list[str | int]) -> None:
    assert len({hash_value(value, seed=3) for value in values}) == len(values)


def test_no_two_whole_numbers_share_a_hash() -> None:
    many = np.concatenate([np.arange(200_000), -np.arange(1, 1000), np.arange(2**48, 2**63 - 1, 2**48)])
    assert len(np.unique(hash_columns(pa.array(many), seed=3))) == len(many)


@pytest.mark.parametrize("cells", [pa.array(range(200_000)), pa.array([f"user {i}" for i in range(200_000)])])
@pytest.mark.parametrize("num", [2, 7, 1000])
def test_buckets_are_even_and_seeds_unrelated(cells: pa.Array, num: int) -> None:
    one_N, other_N = (buckets(hash_columns(cells, seed=seed), num) for seed in (0, 1))
    sizes = np.bincount(one_N, minlength=num)
    expected = len(cells) / num
    assert ((sizes - expected) ** 2 / expected).sum() < num + 6 * np.sqrt(2 * num)  # chi-squared, six standard deviations
    same = (one_N == other_N).mean()
    assert abs(same - 1 / num) < 6 * np.sqrt(1 / num / len(cells))


@given(hashes=st.lists(st.integers(0, 2**64 - 1), min_size=1), num=st.integers(1, 2**31))
def test_a_hash_falls_in_one_bucket_in_a_column_and_alone(hashes: list[int], num: int) -> None:
    assert buckets(np.array(hashes, np.uint64), num).tolist() == [bucket(hashed, num) for hashed in hashes]


@pytest.mark.parametrize(
    "cells", [pa.array([1.5]), pa.array([1], pa.int32()), pa.array([b"a"]), pa.array([1.5] * 50).dictionary_encode()]
)
def test_other_types_are_refused(cells: pa.Array) -> None:
    with pytest.raises(TypeError, match="only text, int64 and booleans"):
        hash_columns(cells, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(OverflowError):
        hash_value("a", seed=seed)
    with pytest.raises(OverflowError):
        hash_columns(pa.array([1]), seed=seed)


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        hash_value("\ud800", seed=0)
