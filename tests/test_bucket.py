"""From sources in a bucket to predictions in it: every read and write of the workers goes to a real S3 server."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_data import MemoryLoop
from shops import TABLES, Shop, orders, specs, write_all

from raypipe.bundle import MANIFEST, Bundle, save_bundle
from raypipe.core import cluster, storage
from raypipe.core.cluster import Cluster
from raypipe.core.errors import ContractViolation, SourceError
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage, delta_options, list_files, remove, upload_folder, write_bytes
from raypipe.features import FeatureSet
from raypipe.ingest import ingest_tables
from raypipe.joins import Joins
from raypipe.models import Xgboost
from raypipe.prepare import fit_files, transform_files
from raypipe.score import ModelId, Scoring, score_split, score_table
from raypipe.sources import Csv
from raypipe.tables import Quarantine

pytestmark = [pytest.mark.s3, pytest.mark.ray, pytest.mark.long]


@pytest.fixture(scope="module")
def bucket(s3_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bucket with all sources below ``sources/``, and a cluster whose workers have its credentials."""
    cluster.stop()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_env.items():
            patch.setenv(name, value)
        uri, folder = f"s3://{s3_env['RAYPIPE_TEST_BUCKET']}", tmp_path_factory.mktemp("sources")
        write_all(folder)
        for path in folder.iterdir():
            write_bytes(f"{uri}/sources/{path.name}", path.read_bytes())
        Cluster(num_cpus=2, object_store_gib=0.3).start()
        yield uri
        cluster.stop()


def test_the_whole_way_leads_through_the_bucket_and_again_repeats_nothing(bucket: str, tmp_path: Path) -> None:
    shop = Shop(f"{bucket}/sources", Storage(root=f"{bucket}/root"))
    plan, refs = shop.plan(), shop.tables()
    assert {name: ref.num_rows for name, ref in refs.items()} == {"orders": 600, "shops": 3, "prices": 900}
    assert shop.tables() == refs

    prepared = shop.prepared(plan)
    files = list_files(shop.storage.uri("prepared"))
    assert shop.prepared(plan).to_dict() == prepared.to_dict()
    assert list_files(shop.storage.uri("prepared")) == files
    bundle = Bundle(
        inputs=prepared.inputs,
        sources=prepared.sources,
        features=prepared.features,
        model=Xgboost(num_rounds=3, max_depth=3).train(prepared.training_data(), MemoryLoop()),
        target=prepared.target,
        examples=prepared.examples,
        threshold=0.5,
    )
    digest = save_bundle(bundle, tmp_path / "bundle")
    upload_folder(tmp_path / "bundle", f"{bucket}/bundle", last=MANIFEST)
    model = ModelId(name="m", version=1, digest=digest, bundle_uri=f"{bucket}/bundle")

    held = score_split(prepared, "test", bundle_uri=model.bundle_uri, digest=digest, slices=("shop",))
    assert len(held.y_N) == prepared.num_rows["test"]
    first = score_table(plan, refs, Scoring(), model, storage=shop.storage, joins=Joins())
    assert first.rows == RowCounts(600, 600)
    again = score_table(plan, refs, Scoring(), model, storage=shop.storage, joins=Joins())
    assert (again.reused, again.rows) == (True, first.rows)
    frame = pl.read_delta(first.ref.uri, storage_options=delta_options(first.ref.uri))
    assert sorted(frame["id"].to_list()) == [row["id"] for row in orders()]

    remove(f"{first.ref.uri}/_delta_log")  # as if it had been killed before the commit
    resumed = score_table(plan, refs, Scoring(), model, storage=shop.storage, joins=Joins())
    assert (resumed.reused, resumed.rows) == (False, first.rows)
    now = pl.read_delta(first.ref.uri, storage_options=delta_options(first.ref.uri))
    assert now.sort("id").equals(frame.sort("id"))  # the time of scoring too: no part was computed again


def test_bad_rows_and_missing_files_in_the_bucket_are_told_in_one_line(bucket: str) -> None:
    root = Storage(root=f"{bucket}/bad")
    write_bytes(f"{bucket}/bad-sources/shops.csv", b"name,staff,rating\nnorth,many,1\n")
    with pytest.raises(ContractViolation, match=r"s3://.*/shops.csv, column staff: 'many'"):
        ingest_tables(specs(f"{bucket}/bad-sources", {"shops": TABLES["shops"]}), root)
    assert Quarantine(root, "shops").counts() == {"refused": {"type of staff": 1}}
    with pytest.raises(SourceError, match="no such file"):
        Csv(uri=f"{bucket}/nowhere-*.csv").scan({})
    assert not storage.exists(root.uri("tables", "shops", "_delta_log"))


def test_features_of_plain_files_are_fitted_and_written_in_the_bucket(bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0, None], "b": ["x", "y", "x"]}), path)
    write_bytes(f"{bucket}/plain/0.parquet", path.read_bytes())
    features = FeatureSet(features={"a": {"kind": "number"}, "b": {"kind": "category", "partitions": 2}})
    fitted = fit_files(features, [f"{bucket}/plain"], scratch=f"{bucket}/scratch")
    assert fitted.to_files() == fit_files(features, [str(path)], scratch=str(tmp_path)).to_files()
    for _ in range(2):
        (uri,) = transform_files(fitted, [f"{bucket}/plain"], f"{bucket}/out")
    assert sorted(list_files(f"{bucket}/out")) == [uri, f"{bucket}/out/transformed.json"]
    assert list_files(f"{bucket}/scratch") == []
