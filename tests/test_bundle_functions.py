"""Feature functions of the user's own in a bundle: listed by sha256, and the same for one row and for many."""

from pathlib import Path

import bundle_parts
import numpy as np
import pytest
from bundle_parts import call_another, raw_rows, with_function

from raypipe.bundle import Bundle, load_bundle, read_manifest, save_bundle
from raypipe.core.errors import BundleError

binary = bundle_parts.binary

OWN = """
import numpy as np

def alone(x):
    return x * 2.0

def centred(x):
    return x - np.nanmean(x)

def sums(x):
    return np.cumsum(np.nan_to_num(x))

def shy(x):
    if len(x) > 1 and np.any(x == 5e-324):
        raise ValueError("too small in company")
    return x

def alone_only(x):
    if len(x) > 1:
        return x
    raise ValueError("nobody here")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module = f"own_features_{tmp_path.name}"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"{module}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    return module


def test_a_function_of_ones_own_is_listed_with_its_sha256_and_comes_back(binary: Bundle, own: str, tmp_path: Path) -> None:
    bundle = with_function(binary, f"{own}:alone")
    save_bundle(bundle, tmp_path / "b")
    assert [code.import_path for code in read_manifest(tmp_path / "b").code] == [own]
    rows = raw_rows(20, seed=3)
    np.testing.assert_array_equal(load_bundle(tmp_path / "b").score(rows), bundle.score(rows))
    (tmp_path / "code" / f"{own}.py").write_text(OWN + "\n# changed\n")
    with pytest.raises(BundleError, match=f"module {own} has changed"):
        load_bundle(tmp_path / "b")


def test_a_function_of_a_module_that_the_manifest_does_not_list_is_never_called(
    binary: Bundle, own: str, tmp_path: Path
) -> None:
    save_bundle(with_function(binary, f"{own}:alone"), tmp_path / "b")
    (tmp_path / "code" / "trap.py").write_text("raise SystemExit('imported')\n")
    call_another(tmp_path / "b", f"{own}:alone", "trap:alone")
    with pytest.raises(BundleError, match="trap"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("name", ["centred", "sums"])
def test_a_function_that_answers_otherwise_for_one_row_and_for_many_is_not_saved(
    binary: Bundle, own: str, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BundleError, match=r"parity: feature distance is .*, on real row \d \(carrier=.*its own row") as refused:
        save_bundle(with_function(binary, f"{own}:{name}"), tmp_path / "b")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shy", r"all rows at once have no features by the columns \(ValueError: too small in company\), but each alone has"),
        ("alone_only", r"real row 0 \(carrier=.*\) has no features by the columns of one row \(ValueError: nobody here\)"),
    ],
)
def test_a_function_that_fails_in_company_or_alone_is_not_saved(
    binary: Bundle, own: str, tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        save_bundle(with_function(binary, f"{own}:{name}"), tmp_path / "b")


def test_a_function_that_fails_on_the_golden_rows_is_one_line_of_the_bundle(binary: Bundle, own: str, tmp_path: Path) -> None:
    save_bundle(with_function(binary, f"{own}:alone"), tmp_path / "b")
    call_another(tmp_path / "b", f"{own}:alone", f"{own}:alone_only")
    with pytest.raises(BundleError, match=r"golden rows cannot be recomputed \(ValueError: nobody here\)"):
        load_bundle(tmp_path / "b")


def test_a_module_beside_it_that_the_function_uses_is_listed_too(binary: Bundle, own: str, tmp_path: Path) -> None:
    beside = tmp_path / "code" / f"{own}_beside.py"
    beside.write_text("FACTOR = 2.0\n")
    source = f"import numpy as np\nfrom {own}_beside import FACTOR\n\ndef alone(x):\n    return x * FACTOR\n"
    (tmp_path / "code" / f"{own}.py").write_text(source)
    save_bundle(with_function(binary, f"{own}:alone"), tmp_path / "b")
    manifest = read_manifest(tmp_path / "b")
    assert [code.import_path for code in manifest.code] == [own, beside.stem]
    beside.write_text("FACTOR = 3.0\n")
    with pytest.raises(BundleError, match=f"module {beside.stem} has changed"):
        load_bundle(tmp_path / "b")
