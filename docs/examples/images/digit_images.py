"""The images of this example, and how a model sees them: PNG bytes as 64 numbers.

The images are the 1,797 handwritten digits of the UCI repository (Alpaydin and Kaynak, 1998), 8 x 8 pixels of 17 shades,
which scikit-learn carries in its package. ``python digit_images.py images`` writes them as Parquet files: a number, the PNG
file as bytes, and the digit that it shows.

Shapes: N images of 64 pixels.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_SIDE, _WHITE = 8, 16
_FILES = 4
SCHEMA = pa.schema([("id", pa.int64()), ("image", pa.binary()), ("digit", pa.string())])


def pixels(image_N: NDArray[np.object_]) -> NDArray[np.float32]:
    """(N, 64): shades of each image between 0 and 1, row by row; NaN for what is no image."""
    out_NP = np.full((len(image_N), _SIDE * _SIDE), np.nan, np.float32)
    for i, data in enumerate(image_N):
        try:
            with Image.open(io.BytesIO(data or b"")) as image:
                small = image.convert("L").resize((_SIDE, _SIDE))
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):  # what Pillow raises for damaged files
            continue
        out_NP[i] = np.asarray(small, np.float32).ravel() / 255
    return out_NP


def png(image_YX: NDArray[np.float64]) -> bytes:
    """A digit as a PNG file."""
    shades_YX = np.round(image_YX * (255 / _WHITE)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(shades_YX).save(file, "PNG")
    return file.getvalue()


def main(folder: Path) -> None:
    """Write all images into `folder`, in four files."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = {
        "id": list(range(len(digits.target))),
        "image": [png(image_YX) for image_YX in digits.images],
        "digit": [str(digit) for digit in digits.target],
    }
    table = pa.table(rows, schema=SCHEMA)
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(table) // _FILES)
    for i in range(_FILES):
        pq.write_table(table.slice(i * size, size), folder / f"digits-{i}.parquet")
    sys.stderr.write(f"{len(table):,} images in {folder}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
