"""The same work on a cluster of one or two nodes: ``python -m benchmarks.features_nodes --nodes 2 --rows 100000``.

The nodes are processes on this machine, each with its own object store and one CPU (a cluster of one node has two). Prints
as JSON the digest of the fitted features, the SHA-256 of each output file's decoded columns, and on how many nodes tasks ran.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.features_data import bench_folder, files
from benchmarks.features_ways import Files
from raypipe.core.fragments import map_fragments

OBJECT_STORE_BYTES = 512 * 2**20


def main() -> None:
    """Start the cluster, fit, transform, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, choices=(1, 2), required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rows-per-file", type=int, default=250_000)
    asked = parser.parse_args()
    rows = files(asked.rows, rows_per_file=asked.rows_per_file)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # a cluster of this process only
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    import ray
    from ray.cluster_utils import Cluster

    cpus = 2 // asked.nodes
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES})
    for _ in range(asked.nodes - 1):
        cluster.add_node(num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        nodes = set(map_fragments(_where, range(16), title="nodes"))
        way = Files()
        with tempfile.TemporaryDirectory(dir=bench_folder()) as folder:
            way.fit(rows)
            way.transform(rows, Path(folder))
            digests = _digests(sorted(Path(folder).rglob("*.parquet")))
        print(json.dumps({"nodes": len(nodes), "fitted": way.fitted.digest, "files": digests}))
    finally:
        ray.shutdown()
        cluster.shutdown()


def _where(_: int) -> str:
    import ray

    time.sleep(0.1)  # long enough that no node takes all
    node: str = ray.get_runtime_context().get_node_id()
    return node


def _digests(paths: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of names, types and values of the columns of each file."""
    found = {}
    for path in paths:
        digest = hashlib.sha256()
        table = pq.read_table(path).combine_chunks()
        digest.update(str(table.schema).encode())
        for name in table.column_names:
            digest.update(table[name].to_numpy().tobytes())
        found[path.name] = digest.hexdigest()
    return found


if __name__ == "__main__":
    main()
