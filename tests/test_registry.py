"""Model versions: found by number, alias and digest; a killed or damaged registration makes none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import registry_parts
from bundle_parts import raw_rows, run_python

from raypipe.bundle import load_bundle, save_bundle
from raypipe.core.errors import BundleError, ConfigError, ModelNotFound, StorageError
from raypipe.registry import start_run

storage = registry_parts.storage
tracking = registry_parts.tracking
client = registry_parts.client
registry = registry_parts.registry
bundles = registry_parts.bundles


def test_a_registered_bundle_is_found_by_number_alias_latest_and_digest(registry, tracking, storage, bundles) -> None:
    with start_run(tracking, storage, name="train") as tracker:
        first = registry.register("found", bundles["binary"], run_id=tracker.run_id, tags={"table.flights": "3"})
        second = registry.register("found", bundles["second"], run_id=tracker.run_id)
    assert (first.version, second.version) == (1, 2)
    assert first.run_id == tracker.run_id
    assert first.digest == load_bundle(bundles["binary"]).digest
    assert registry.resolve("found", "1") == registry.resolve("found", 1) == first
    assert registry.resolve("found", "latest") == second
    assert registry.champion("found") is None
    assert registry.promote("found", 1) == first
    assert registry.champion("found") == registry.resolve("found", "champion") == first
    registry.promote("found", "latest")
    registry.promote("found", 1, alias="challenger")
    assert registry.champion("found") == second
    assert registry.resolve("found", "challenger") == first
    assert registry.find_by_digest("found", first.digest) == first
    assert registry.find_by_digest("found", "0" * 64) is None
    assert registry.find_by_digest("another", first.digest) is None
    assert registry.versions("found") == {1: first, 2: second}


def test_registering_the_same_bundle_again_makes_no_second_version(registry, client, bundles) -> None:
    first = registry.register("again", bundles["binary"], run_id="")
    assert registry.register("again", bundles["binary"]) == first
    assert len(client.search_model_versions("name = 'again'")) == 1


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("7", "has no version or alias '7' .known: versions 1; aliases champion -> 1"),
        ("challenger", "has no version or alias 'challenger'"),
        ("0", "has no version or alias '0'"),
    ],
)
def test_a_version_that_does_not_exist_is_refused_with_those_that_do(registry, bundles, version, message) -> None:
    registry.register("known", bundles["binary"])
    registry.promote("known", 1)
    for ask in (registry.resolve, registry.promote):
        with pytest.raises(ModelNotFound, match=message):
            ask("known", version)


@pytest.mark.parametrize("version", ["champion", "latest", "1"])
def test_a_model_that_does_not_exist_is_refused_with_those_that_do(registry, bundles, version) -> None:
    registry.register("known", bundles["binary"])
    with pytest.raises(ModelNotFound, match=r"model unheard-of has no .*no versions; other models: .*known"):
        registry.resolve("unheard-of", version)
    assert registry.champion("unheard-of") is None
    assert registry.versions("unheard-of") == {}


@pytest.mark.parametrize("name", ["", "a/b", "a b", "it's", "../up", "x" * 300])
def test_a_name_that_no_folder_could_have_is_refused(registry, bundles, name) -> None:
    with pytest.raises(ConfigError, match="model name"):
        registry.register(name, bundles["binary"])


def test_what_a_killed_registration_left_is_ignored_and_removed_by_the_next(registry, client, bundles) -> None:
    digest = load_bundle(bundles["binary"]).digest
    client.create_registered_model("killed")
    client.create_model_version("killed", source="/nowhere", tags={"digest": digest, "bundle_uri": "/nowhere"})
    client.create_model_version("killed", source="/elsewhere")  # somebody else's, or tagged by nobody yet
    assert registry.find_by_digest("killed", digest) is None
    for version in ("1", "2", "latest"):
        with pytest.raises(ModelNotFound, match="known: no versions"):
            registry.resolve("killed", version)
    made = registry.register("killed", bundles["binary"])
    left = {int(v.version): v.tags.get("status") for v in client.search_model_versions("name = 'killed'")}
    assert left == {2: None, made.version: "complete"}
    assert registry.resolve("killed", "latest") == made
    assert registry.register("killed", bundles["binary"]) == made


@pytest.mark.slow
def test_kill_9_while_registering_and_the_same_again_gives_one_version(registry, client, storage, bundles) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from raypipe.core.storage import Storage
        from raypipe.registry import Registry, Tracking
        registry = Registry(tracking=Tracking(experiment="tests"), storage=Storage(root=sys.argv[1]))
        def die(event, arguments):
            if event == "raypipe.tag":
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(die)
        client = registry._client
        tag = client.set_model_version_tag
        client.set_model_version_tag = lambda *a: (sys.audit("raypipe.tag"), tag(*a))
        registry.register("nine", Path(sys.argv[2]))
        """
    done = run_python(code, storage.root, str(bundles["binary"]))
    assert done.returncode == -9, done.stderr
    assert [v.tags.get("status") for v in client.search_model_versions("name = 'nine'")] == [None]
    assert registry.versions("nine") == {}
    made = registry.register("nine", bundles["binary"])
    assert [(int(v.version), v.tags.get("status")) for v in client.search_model_versions("name = 'nine'")] == [
        (made.version, "complete")
    ]


def test_a_damaged_bundle_is_not_registered(registry, bundles, tmp_path: Path, client) -> None:
    save_bundle(load_bundle(bundles["binary"]), tmp_path / "b")
    (tmp_path / "b" / "meta.json").write_text("{}")
    with pytest.raises(BundleError, match=r"meta\.json"):
        registry.register("damaged", tmp_path / "b")
    assert client.search_model_versions("name = 'damaged'") == []


def test_a_fetched_bundle_is_the_registered_one_and_needs_the_original_no_more(registry, storage, bundles, tmp_path) -> None:
    bundle = load_bundle(bundles["regression"])
    save_bundle(bundle, tmp_path / "b")
    version = registry.register("fetched", tmp_path / "b")
    (tmp_path / "b").rename(tmp_path / "gone")
    folder = registry.fetch(version)
    assert version.bundle_uri == storage.uri("models", "fetched", version.digest)
    assert load_bundle(folder).digest == version.digest
    np.testing.assert_array_equal(load_bundle(folder).score(raw_rows(9)), bundle.score(raw_rows(9)))


def test_a_fetch_of_another_bundle_or_of_nothing_is_refused(registry, bundles) -> None:
    version = registry.register("other", bundles["binary"])
    with pytest.raises(BundleError, match="its digest is"):
        registry.fetch(replace(version, digest="0" * 64))
    with pytest.raises(StorageError, match="does not exist"):
        registry.fetch(replace(version, bundle_uri=version.bundle_uri + "x"))


def test_a_version_carries_its_facts_as_tags(registry, client, bundles) -> None:
    made = registry.register("tagged", bundles["binary"], tags={"table.flights": "3", "status": "not yours to say"})
    found = client.get_model_version("tagged", str(made.version))
    parity = json.loads(found.tags.pop("parity"))
    assert (parity["num_real"], parity["differences"]) == (100, 0)
    stored = [Path(made.bundle_uri) / "parity.json", *Path(found.source).rglob("parity.json")]
    assert [json.loads(path.read_text()) for path in stored] == [parity, parity]
    assert found.description.startswith("Train/serve parity: 100 real and ")
    assert found.tags == {
        "table.flights": "3",
        "digest": made.digest,
        "run_id": "",
        "bundle_uri": made.bundle_uri,
        "status": "complete",
    }
