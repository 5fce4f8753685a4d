"""The commands that stand alone: a contract proposed from a file, and a file checked against one; nothing else is written."""

import gzip
import json
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from raypipe.contract import Contract, propose
from raypipe.core.errors import ConfigError
from raypipe.ingest import run_contract_check, run_contract_infer

ROWS = 400


def shop() -> dict[str, list[Any]]:
    return {
        "order_id": [f"{1000 + i}" for i in range(ROWS)],
        "zip": [f"0{i % 7}21{i % 10}" for i in range(ROWS)],
        "channel": [" web" if i == 3 else ("web", "shop", "app")[i % 3] for i in range(ROWS)],
        "email": [f"user{i}@mail.example" for i in range(ROWS)],
        "amount": ["NA" if i % 10 == 0 else f"{i / 4}" for i in range(ROWS)],
        "temp": ["-999" if i % 50 == 0 else f"{i % 40}" for i in range(ROWS)],
        "at": [f"2024-03-{1 + i % 28:02}T10:00:00Z" for i in range(ROWS)],
        "local": [f"2024-03-{1 + i % 28:02} 10:00:00" for i in range(ROWS)],
        "paid": [("true", "false")[i % 2] for i in range(ROWS)],
        "tags": ['["a", "b"]' if i % 2 else "[]" for i in range(ROWS)],
        "note": [f"some words, and more of them {i}" for i in range(ROWS)],
    }


def as_csv(data: dict[str, list[Any]], delimiter: str = ",") -> str:
    def quoted(cell: Any) -> str:
        text = "" if cell is None else str(cell)
        return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(c in text for c in (delimiter, '"')) else text

    lines = [list(data), *zip(*data.values(), strict=True)]
    return "".join(delimiter.join(map(quoted, line)) + "\n" for line in lines)


def run(command: Any, *argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    code = command(list(argv))
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]), out + err


def test_what_the_cells_look_like_is_proposed_with_its_reasons() -> None:
    found = propose(pa.table(shop()), key=())
    assert found.keys == (("order_id",), ("email",), ("note",))
    columns = found.contract["columns"]
    assert columns["order_id"] == "int64"  # bounds of a key are no rule: tomorrow has other ones
    assert columns["zip"] == {"type": "string", "nullable": False, "regex": "[0-9]{5}", "pii": True}
    assert columns["channel"] == {"type": "string", "nullable": False, "one_of": ["app", "shop", "web"], "clean": ["trim"]}
    assert (columns["email"]["pii"], "@" in columns["email"]["regex"]) == (True, True)
    assert columns["amount"] == {"type": "float64", "min": 0, "max": 110, "clean": [{"null_if": ["NA"]}]}
    assert columns["temp"] == {"type": "int64", "min": 0, "max": 43, "clean": [{"null_if": [-999]}]}
    assert columns["at"] == {"type": "timestamp", "nullable": False, "min": "2024-01-01T00:00:00Z"}
    assert columns["local"]["type"] == "string"
    assert "times without a zone" in found.notes["local"][0]
    assert columns["paid"] == {"type": "bool", "nullable": False}
    assert columns["tags"] == {"type": "list<string>", "nullable": False}
    assert columns["note"]["max_length"] >= 31
    assert {*found.contract["distribution"]} == {"channel", "amount", "paid"}
    assert Contract.from_dict(found.contract).check(pa.table(shop())).bad.num_rows == 0


def test_typed_columns_are_described_as_well() -> None:
    table = pa.table(
        {
            "x": pa.array([1.5, float("nan"), None] * 20),
            "n": pa.array(range(60), pa.uint8()),
            "at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 60, pa.timestamp("ns", "Europe/Paris")),
            "naive": pa.array([datetime(2024, 1, 1)] * 60),
            "v": pa.array([[0.5, 1.0]] * 60, pa.list_(pa.float32(), 2)),
            "c": pa.array(["a", "b", "a"] * 20).dictionary_encode(),
            "empty": pa.nulls(60),
            "price": pa.array([Decimal("1.25")] * 60),
            "odd": pa.array([{"a": 1}] * 60),
        }
    )
    found = propose(table)
    types = {name: c["type"] if isinstance(c, dict) else c for name, c in found.contract["columns"].items()}
    expected = ["float64", "int64", "timestamp", "timestamp", "vector", "string", "string", "float64", "string"]
    assert types == dict(zip(table.column_names, expected, strict=True))
    assert found.contract["columns"]["x"]["clean"] == [{"null_if": ["NaN"]}]
    assert found.contract["columns"]["naive"]["zone"] == "UTC"
    assert "cast it in the source" in found.notes["odd"][0]
    assert found.keys == (("n",),)


def test_a_key_of_several_columns_is_found_and_a_wrong_one_is_told() -> None:
    rows = [(a, b, c) for a in range(6) for b in range(6) for c in range(6)]
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate("abc")} | {"x": [0] * len(rows)})
    assert {*propose(table).keys[0]} == {"a", "b", "c"}
    assert "repeats in 210" in propose(table, key=("a",)).notes[""][0]
    assert propose(pa.table({"x": [0, 0]})).contract.get("key") is None
    with pytest.raises(ConfigError, match="key column order is not in the data; did you mean order_id"):
        propose(pa.table(shop()), key=("order",))
    with pytest.raises(ConfigError, match="no rows"):
        propose(pa.table({"x": pa.array([], pa.int64())}))


def write(folder: Path, kind: str) -> Path:
    data, path = shop(), folder / f"orders{kind}"
    if kind == ".parquet":
        pq.write_table(pa.table(data), path)
    elif kind == ".jsonl":
        rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == ".csv.gz":
        path.write_bytes(gzip.compress(as_csv(data).encode()))
    elif kind == ".csv.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("orders.csv", as_csv(data))
    else:
        path.write_text(as_csv(data, ";" if kind == ".txt" else ","))
    return path


@pytest.mark.parametrize("kind", [".csv", ".csv.gz", ".csv.zip", ".txt", ".parquet", ".jsonl"])
def test_a_file_gets_a_proposal_that_it_keeps(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write(tmp_path, kind), tmp_path / "orders.yaml"
    code, result, _ = run(run_contract_infer, str(data), "--out", str(out), capsys=capsys)
    assert (code, result["status"], result["rows"], result["whole"]) == (0, "ok", ROWS, True)
    proposed = yaml.safe_load(out.read_text())["data"]["tables"]["orders"]
    assert proposed["contract"]["key"] == ["order_id"]
    assert out.read_text().startswith("# proposed from all 400 rows of")
    before = sorted(tmp_path.iterdir())
    code, result, text = run(run_contract_check, str(data), "--contract", str(out), capsys=capsys)
    assert (code, result["tables"]["orders"]["good"]) == (0, ROWS), text
    assert run(run_contract_check, "--contract", str(out), capsys=capsys)[0] == 0, "the YAML names its source"
    assert sorted(tmp_path.iterdir()) == before, "a check writes nothing"


def test_a_check_prints_each_rule_with_its_rows_and_an_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, rules = tmp_path / "orders.csv", tmp_path / "rules.yaml"
    data.write_text(
        "id,email,amount,extra\n1,a@b.cd,5,1\n1,secret,-1,1\n2,a@b.cd,x,1\n3,a@b.cd,200,1\n4,too,many,fields,here\n"
    )
    contract = {
        "key": ["id"],
        "unique": [["amount"]],
        "columns": {
            "id": "int64",
            "email": {"type": "string", "pii": True, "regex": ".*@.*"},
            "amount": {"type": "float64", "min": 0, "max": 100, "severity": "warn"},
        },
        "rules": {"small": {"expect": "amount < 100", "severity": "fail"}},
        "rows": {"min": 10, "severity": "warn"},
        "foreign_keys": {"who": {"columns": {"email": "email"}, "table": "people"}},
    }
    rules.write_text(yaml.safe_dump({"contract": contract}))
    code, result, text = run(run_contract_check, str(data), "--contract", str(rules), capsys=capsys)
    found = result["tables"]["rules"]
    assert (code, result["status"], found["rows"], found["good"]) == (2, "broken", 5, 1)
    by_rule = {line["rule"]: (line["severity"], line["rows"], line["example"]) for line in found["rules"]}
    assert by_rule["regex of email"] == ("quarantine", 1, "*** does not match .*@.*")
    assert by_rule["max of amount"] == ("warn", 1, "'200' is more than 100")
    assert by_rule["small"] == ("fail", 1, "expected amount < 100; found amount=200.0")
    assert by_rule["min of amount"][:2] == ("warn", 1)
    assert by_rule["broken line"][1] == 1
    assert {f["rule"]: f["severity"] for f in found["findings"]} == {"max_bad_share": "fail", "small": "fail", "rows": "warn"}
    assert "new column extra (string)" in found["drift"]
    assert "foreign key who is not checked: its table is not given" in found["drift"]
    assert "secret" not in text
    code, result, _ = run(run_contract_check, str(data), "--contract", str(rules), "--rows", "1", capsys=capsys)
    assert (code, result["tables"]["rules"]["whole"]) == (0, False)


def test_repeated_keys_break_a_contract_unless_one_is_to_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, rules = tmp_path / "t.csv", tmp_path / "t.yaml"
    data.write_text("k,x\n1,1\n1,2\n2,3\n")
    for policy, expected in (("refuse", 2), ("last", 0)):
        rules.write_text(yaml.safe_dump({"columns": {"k": "int64", "x": "int64"}, "key": ["k"], "duplicates": policy}))
        code, result, _ = run(run_contract_check, str(data), "--contract", str(rules), capsys=capsys)
        assert code == expected
        assert result["tables"]["t"]["findings"][0]["message"].startswith("1 rows repeat one of (k)")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "give a file, folder or URI, or an experiment"),
        (["a.csv", "b.csv"], "give one file, folder or glob"),
        (["a.csv", "experiment=flights"], "give one file, folder or glob"),
        (["missing.csv"], "no such file"),
        (["a.xlsx"], ".xlsx is no known ending"),
        (["--rowz", "3"], "unrecognized arguments"),
        (["experiment=nothing_of_that_name"], "nothing_of_that_name"),
        (["experiment=flights"], "choose one with --table"),
        (["experiment=flights", "--table", "plane"], "no table plane; did you mean planes?"),
    ],
)
def test_wrong_words_end_in_one_clear_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, _ = run(run_contract_infer, *argv, capsys=capsys)
    assert (code, result["status"]) == (2, "failed")
    assert words in result["error"]["message"]


def test_an_experiments_table_is_checked_with_the_parents_of_its_foreign_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result, _ = run(run_contract_check, "experiment=flights", "--table", "airports", capsys=capsys)
    assert (code, result["tables"]["airports"]["good"]) == (0, 1458)
    (tmp_path / "o.csv").write_text("id,who\n1,a\n2,b\n3,\n")
    (tmp_path / "p.csv").write_text("name\n a\n")
    key = {"who": {"columns": {"who": "name"}, "table": "people"}}
    contracts = {
        "orders": {"columns": {"id": "int64", "who": "string"}, "foreign_keys": key},
        "people": {"columns": {"name": {"type": "string", "clean": ["trim"]}}},
    }
    tables = {
        name: {"source": {"_target_": "raypipe.sources.Csv", "uri": str(tmp_path / f"{name[0]}.csv")}, "contract": contract}
        for name, contract in contracts.items()
    }
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump({"data": {"tables": tables}}))
    code, result, _ = run(run_contract_check, "--contract", str(tmp_path / "shop.yaml"), capsys=capsys)
    assert (code, result["tables"]["people"]["good"], result["tables"]["orders"]["good"]) == (2, 1, 2)
    assert result["tables"]["orders"]["rules"][0]["example"] == "expected a row of people with the same name; found who='b'"


@pytest.mark.parametrize("text", ["a: [", "- 1", "key: [a]", ""])
def test_a_file_without_a_contract_is_told(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(text)
    (tmp_path / "d.csv").write_text("a\n1\n")
    code, result, _ = run(run_contract_check, str(tmp_path / "d.csv"), "--contract", str(tmp_path / "c.yaml"), capsys=capsys)
    assert code == 2
    assert "is not YAML" in result["error"]["message"] or "holds no contract" in result["error"]["message"]
    assert "needs --contract" in run(run_contract_check, str(tmp_path / "d.csv"), capsys=capsys)[1]["error"]["message"]
