"""Loading for a training: parts straight into whole arrays, and files mapped into memory above a bound."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from processes import ROOT
from safetensors.numpy import save

from raypipe.core.errors import StorageError
from raypipe.core.scratch import held
from raypipe.models import Linear
from raypipe.prepare import LoadPrepared
from raypipe.prepare._load_parts import fill, row_bytes
from raypipe.train import Trainer, train_model

PART_ROWS = (3, 1, 0, 5)


def write_parts(folder: Path, sizes=PART_ROWS, *, num_numbers: int = 4) -> tuple[list[str], dict[str, np.ndarray]]:
    """Parts of `sizes` rows; gives their URIs and the whole arrays."""
    rng, num = np.random.default_rng(0), sum(sizes)
    whole = {
        "numbers_NF": rng.normal(size=(num, num_numbers)).astype(np.float32),
        "categories_NC": rng.integers(0, 9, size=(num, 0)).astype(np.int32),
        "y_N": rng.normal(size=num).astype(np.float32),
    }
    uris, at = [], 0
    for i, size in enumerate(sizes):
        uris.append(str(folder / f"{i}.safetensors"))
        Path(uris[-1]).write_bytes(save({name: array[at : at + size].copy() for name, array in whole.items()}))
        at += size
    return uris, whole


def empty(name, shape, dtype):
    return np.empty(shape, dtype)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """A local disk of this test's own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder / f"raypipe-{os.getuid()}"


def test_parts_are_filled_into_whole_arrays_in_their_order(tmp_path):
    uris, whole = write_parts(tmp_path)
    found = fill(uris, 9, empty)
    assert {name: array.dtype for name, array in found.items()} == {name: array.dtype for name, array in whole.items()}
    for name, array in whole.items():
        np.testing.assert_array_equal(found[name], array)
    assert row_bytes(uris[0]) == 4 * 4 + 4


@pytest.mark.s3
def test_parts_in_a_bucket_give_the_same_arrays(tmp_path, s3):
    from raypipe.core import storage

    uris, whole = write_parts(tmp_path, (2,) * 20)
    remote = [f"{s3}/load/{Path(uri).name}" for uri in uris]
    for local, uri in zip(uris, remote, strict=True):
        storage.write_bytes(uri, Path(local).read_bytes())
    np.testing.assert_array_equal(fill(remote, 40, empty)["numbers_NF"], whole["numbers_NF"])
    assert row_bytes(remote[0]) == 20


def test_loading_takes_the_memory_of_the_data_and_hardly_more(tmp_path):
    uris, whole = write_parts(tmp_path, (10_000,) * 10, num_numbers=10)
    tracemalloc.start()
    found = fill(uris, 100_000, empty)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.05 * sum(array.nbytes for array in found.values())
    np.testing.assert_array_equal(found["y_N"], whole["y_N"])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "does not exist; prepare again"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "ends before its last row"),
    ],
    ids=["missing", "cut"],
)
def test_a_damaged_part_is_one_clear_line(damage, words, tmp_path):
    uris, _ = write_parts(tmp_path)
    damage(Path(uris[-1]))
    with pytest.raises(StorageError, match=words):
        fill(uris, 9, empty)


@pytest.mark.parametrize("said", [8, 10])
def test_parts_that_do_not_hold_the_rows_of_the_manifest_are_refused(said, tmp_path):
    with pytest.raises(StorageError, match=r"prepare again"):
        fill(write_parts(tmp_path)[0], said, empty)


@pytest.mark.usefixtures("ray_cluster")
def test_rows_above_the_bound_are_mapped_from_the_local_disk_and_train_the_same_model(kept, scratch, tmp_path):
    prepared = kept[1]
    load = LoadPrepared(prepared.uri)
    whole, size = load(), load.size()
    assert size.num_bytes == whole.train.num_bytes + whole.validation.num_bytes
    with load.within(size.num_bytes) as loaded:
        assert (loaded.mapped, loaded.bytes_read) == (False, size.num_bytes)
    with load.within(size.num_bytes - 1) as first, load.within(0) as second:
        assert (first.mapped, first.bytes_read, second.bytes_read) == (True, size.num_bytes, 0)
        assert isinstance(first.data.train.inputs["numbers_NF"], np.memmap)
        assert not first.data.train.y_N.flags.writeable
        for split in ("train", "validation"):
            expected, found = vars(whole)[split], vars(second.data)[split]
            np.testing.assert_array_equal(found.y_N, expected.y_N)
            for name, tensor in expected.inputs.items():
                np.testing.assert_array_equal(found.inputs[name], tensor)
    assert list(scratch.iterdir()) == []

    models = []
    for memory in (None, 1):
        trainer = Trainer(num_threads=1, memory=memory)
        trained = train_model(Linear(), trainer=trainer, load=load, uri=str(tmp_path), fingerprint=str(memory))
        models.append(trained.model.predict(whole.validation.inputs))
        assert trained.cost.bytes_read == size.num_bytes
        assert trained.speed.load_seconds > 0
    np.testing.assert_array_equal(*models)
    assert trained.notes == ("the training data are memory-mapped from the local disk: they exceed trainer.memory",)


def nothing(_: Path) -> None:
    """A folder that stays empty."""


def test_a_local_folder_is_made_once_shared_and_gone_after_the_last_who_holds_it(scratch):
    made = []
    with held("x", made.append) as one, held("x", made.append) as two:
        assert one == two
        assert one.is_dir()
    assert list(scratch.iterdir()) == []
    assert len(made) == 1


def test_a_folder_that_could_not_be_filled_is_not_there(scratch):
    def fails(folder):
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), held("x", fails):
        pass
    assert list(scratch.iterdir()) == []
    with held("x", nothing) as folder:
        assert list(folder.iterdir()) == []


def test_what_a_killed_process_held_is_removed_by_the_next_and_what_a_living_one_holds_stays(scratch):
    program = (
        "import sys, os, signal\nfrom raypipe.core.scratch import held\n"
        "with held(sys.argv[1], lambda f: (f / 'big').write_text('x')):\n"
        "    print('held', flush=True)\n    sys.stdin.readline()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "TMPDIR": str(scratch.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", program, "theirs"], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with held("mine", nothing):
            assert (scratch / "theirs" / "big").exists()
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(timeout=20)
        assert (scratch / "theirs").exists()
        with held("mine", nothing):
            assert not (scratch / "theirs").exists()


def test_data_that_do_not_fit_the_local_disk_are_refused(tmp_path):
    from raypipe.prepare import _load

    with pytest.raises(StorageError, match=r"do not fit the local disk .*set TMPDIR"):
        _load._check_room(tmp_path, 2**60)


@pytest.mark.usefixtures("ray_cluster")
def test_a_local_disk_that_fills_up_while_the_files_are_made_is_one_line(kept, scratch, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)  # the memory of a map is not there until it is written to
    with pytest.raises(StorageError, match=r"do not fit the local disk .*set TMPDIR"), LoadPrepared(kept[1].uri).within(0):
        pass
    assert list(scratch.iterdir()) == []


def test_processes_that_want_a_folder_at_the_same_moment_never_see_it_half_made_or_gone(scratch):
    program = (
        "import sys, time\nfrom raypipe.core.scratch import held\n"
        "def make(f):\n    (f / 'a').write_text('x')\n    time.sleep(0.002)\n    (f / 'b').write_text('x')\n"
        "for i in range(150):\n    with held('same', make) as f:\n"
        "        assert sorted(p.name for p in f.iterdir()) == ['a', 'b']\n"
    )
    env = {**os.environ, "TMPDIR": str(scratch.parent)}
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=env) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    assert list(scratch.iterdir()) == []
