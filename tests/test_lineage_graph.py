"""The graph of lineage: walks, trees, and the nodes that records make, without any store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.registry import Node, source_nodes, tree
from raypipe.registry._lineage_graph import MOST_SHOWN, walk
from raypipe.registry._lineage_nodes import files, tables_in


def node(name: str, kind: str = "table") -> Node:
    return Node(kind=kind, name=name)


def step_of(edges: dict[str, list[str]]):
    return lambda one: [node(name) for name in edges.get(one.name, [])]


def test_a_walk_meets_each_node_once_and_keeps_all_edges() -> None:
    graph = walk(node("a"), step_of({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"]}), "back")
    assert [one.name for one in graph.nodes.values()] == ["a", "b", "c", "d", "e"]
    assert set(graph.edges) == {(f"table:{far}", f"table:{near}") for near, far in ["ab", "ac", "bd", "cd", "de"]}
    assert graph.by_kind() == {"table": ["b", "c", "d", "e"]}


def test_edges_lead_from_what_was_used_whatever_the_direction() -> None:
    (back,) = walk(node("made"), step_of({"made": ["used"]}), "back").edges
    (forward,) = walk(node("used"), step_of({"used": ["made"]}), "forward").edges
    assert back == forward == ("table:used", "table:made")


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4)))
def test_any_graph_ends_and_its_tree_names_every_node(edges: dict[str, list[str]]) -> None:
    graph = walk(node("a"), step_of(edges), "forward")
    lines = list(tree(graph))
    assert {line.split()[-1] if "(see" not in line else line.split()[-3] for line in lines} == {
        n.name for n in graph.nodes.values()
    }
    assert len(lines) <= len(graph.edges) + 1


def test_a_tree_opens_a_node_once() -> None:
    graph = walk(node("a"), step_of({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"]}), "back")
    assert list(tree(graph)) == [
        "table a",
        "├── table b",
        "│   └── table d",
        "│       └── table e",
        "└── table c",
        "    └── table d (see above)",
    ]


def test_a_tree_counts_what_it_does_not_show() -> None:
    graph = walk(node("a"), lambda one: [node(str(i), "file") for i in range(1_012)] if one.name == "a" else [], "back")
    lines = list(tree(graph))
    assert len(lines) == 1 + MOST_SHOWN + 1
    assert lines[-1] == "└── file: 1,002 more"


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, []),
        ({"flights": ["flights", 3, "digest"]}, [("flights", 3)]),
        ({"flights": ["other", 3]}, [("other", 3)]),
        ({"flights": 4}, [("flights", 4)]),
        ({"a": "flights@12"}, [("flights", 12)]),
        ({"a": {"table": "flights", "version": 2}}, [("flights", 2)]),
        ({"flights": {"version": 2}}, [("flights", 2)]),
        ({"a": None, "b": "no version", "c": [], "d": {"table": "x"}}, []),
        ({"a": "x@1", "b": ["x", 1]}, [("x", 1)]),
    ],
)
def test_inputs_are_read_in_every_form_that_commits_have(inputs, expected) -> None:
    assert tables_in(inputs) == expected


def test_a_file_is_named_by_its_sha256_and_one_that_changed_is_another() -> None:
    def of(digest: str) -> Node:
        (found,) = files({"source": {"files": {"s3://b/x.csv": {"size": 1_234, "identity": "1" * 64, "sha256": digest * 64}}}})
        return found

    assert of("a").name == f"s3://b/x.csv#{'a' * 12}"
    assert of("a").says == f"sha256 {'a' * 12}, 1,234 bytes"
    assert of("a").facts["uri"] == "s3://b/x.csv"
    assert of("a").id != of("b").id


def test_ranges_of_a_file_are_one_file() -> None:
    parts = {f"/x.csv#bytes={i}-{i + 1}": {"size": 9, "identity": str(i), "sha256": str(i)} for i in range(3)}
    (found,) = files({"source": {"files": parts}})
    assert found.facts["uri"] == "/x.csv"
    assert found.facts["ranges"] == 3
    (other,) = files({"source": {"files": {**parts, "/x.csv#bytes=2-3": {"size": 9, "identity": "2", "sha256": "new"}}}})
    assert other.id != found.id


@pytest.mark.parametrize(
    ("facts", "kind", "name", "says"),
    [
        ({}, "source", "flights@3", "its source is not recorded"),
        ({"source": {"watermark": "2026-01-01"}}, "source", "flights@3", "watermark=2026-01-01"),
        (
            {
                "source": {"version": 7, "table": "u"},
                "uris": ["postgresql://h/db/public.t?id=[0,9)", "postgresql://h/db/public.t?x"],
            },
            "source",
            "postgresql://h/db/public.t",
            "version=7, table=u",
        ),
        ({"source": {"files": {"/x": {"identity": "ff"}}}}, "file", "/x#ff", "identity ff"),
    ],
)
def test_sources_are_shown_as_far_as_they_are_recorded(facts, kind, name, says) -> None:
    (found,) = source_nodes("flights@3", facts)
    assert (found.kind, found.name, found.says) == (kind, name, says)


def test_a_transform_has_tables_and_no_source() -> None:
    assert list(source_nodes("daily@0", {"inputs": {"flights": 1}})) == []
