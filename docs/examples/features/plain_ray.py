"""Features in a plain Ray script, without experiments or tables: ``python plain_ray.py``.

Fits on a Ray Dataset, transforms it, computes one row, saves and loads; then the same as a preprocessor of Ray Data, and over
Parquet files. The data is that of 344 penguins (PyPI's `palmerpenguins`, CC0).
"""
# ruff: noqa: T201  # a script that shows what it does

import importlib.resources
import tempfile
from pathlib import Path

import ray.data
import yaml
from pyarrow import csv

from raypipe.core.config import build
from raypipe.features import FeatureSet, FittedFeatures
from raypipe.prepare import fit_dataset, fit_files, transform_files
from raypipe.prepare.preprocessor import FeaturePreprocessor

SPEC = """
derive:
  bill_ratio: bill_length_mm / bill_depth_mm
features:
  measures: {kind: number, columns: [bill_length_mm, bill_depth_mm, flipper_length_mm], impute: median}
  mass: {kind: number, column: body_mass_g, log1p: true, clip: [0.01, 0.99], indicator: true}
  bill_ratio: {kind: number, scale: robust}
  mass_class: {kind: bucket, column: body_mass_g, num: 4}
  island: {kind: category}
"""
NEW = {"bill_length_mm": 45.1, "bill_depth_mm": 17.2, "flipper_length_mm": 201, "island": "Dream"}  # not weighed yet


def main(folder: Path) -> None:
    """Everything in turn; files go below `folder`."""
    path = importlib.resources.files("palmerpenguins") / "data" / "penguins.csv"
    missing = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    penguins = ray.data.read_csv(str(path), convert_options=missing)
    features = build(yaml.safe_load(SPEC), FeatureSet)

    fitted = fit_dataset(features, penguins)  # one pass; the rows stay on the workers
    for output in fitted.describe():
        print(f"{output.name:18} {output.type:8} {output.statistics}")

    outputs: ray.data.Dataset = fitted.transform(penguins)  # lazy, one column for each output
    print(outputs.count(), "rows of", ", ".join(outputs.schema().names))

    row = fitted.row(NEW)  # one record, a plain function call: no Ray
    print("one row:", [f"{x:.3f}" for x in row["numbers_NF"][0]], row["categories_NC"][0].tolist())

    for name, data in fitted.to_files().items():
        (folder / name).write_bytes(data)
    loaded = FittedFeatures.from_files({path.name: path.read_bytes() for path in folder.iterdir()})
    print("loaded:", "equal" if loaded == fitted else "different", f"digest {loaded.digest[:12]}")

    preprocessor = FeaturePreprocessor(features)  # for scripts that use ray.data.preprocessors
    beside = preprocessor.fit_transform(penguins)
    print("preprocessor:", len(beside.schema().names), "columns, the raw ones among them")

    penguins.write_parquet(str(folder / "raw"))  # files are faster: text stays dictionary-encoded, nothing big is moved
    by_files = fit_files(features, [str(folder / "raw")])
    written = transform_files(by_files, [str(folder / "raw")], str(folder / "features"))
    print("files:", by_files.rows, "rows fitted,", len(written), "files of features written")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
