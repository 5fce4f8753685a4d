"""``POST /predict``: records in, predictions with names out.

Records are read as rows of plain values, so that one record costs microseconds; many rows become columns only where the
features are computed, with the same bytes. Few rows are computed where the request is read, more in a thread, so that a
large request does not hold up small ones.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import orjson

from raypipe.serve._config import Limits
from raypipe.serve._http import HttpError, Request, Response, check_json, json_response
from raypipe.serve._model import VIEW, Loaded, Served
from raypipe.serve._store import OnlineStore, Record

INLINE_ROWS = 64
MAX_PROBLEMS = 100


class Predict:
    """The handler of ``/predict`` over what `loaded` and `limits` hold at the moment of a request."""

    def __init__(self, *, loaded: Callable[[], Loaded], limits: Callable[[], Limits], store: OnlineStore) -> None:
        self._loaded, self._limits, self._store = loaded, limits, store
        self._in_flight = 0
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")

    async def __call__(self, request: Request) -> Response:
        """Predictions for the records of `request`.

        Raises:
            HttpError: for anything but an answer.
        """
        limits, served = self._limits(), self._loaded().live
        if self._in_flight >= limits.max_in_flight:
            problem = f"{limits.max_in_flight} requests are at work already; try again"
            raise HttpError(429, problem, headers={"retry-after": "1"})
        check_json(request.headers)
        self._in_flight += 1
        work: asyncio.Future[bytes] | None = None
        try:
            async with asyncio.timeout(limits.timeout_s):
                body = await request.body(max_bytes=limits.max_body_bytes)
                records = await self._with_views(served, parse_records(body, max_rows=limits.max_rows))
                if len(records) <= INLINE_ROWS:
                    return Response(200, self.answer(served, records), served.headers)
                loop = asyncio.get_running_loop()
                work = loop.run_in_executor(self._pool, self.answer, served, records)
                return Response(200, await asyncio.shield(work), served.headers)
        except TimeoutError:
            raise HttpError(504, f"no answer within {limits.timeout_s:g} s; send fewer records per request") from None
        finally:
            self._release(work)

    def answer(self, served: Served, records: Sequence[Record]) -> bytes:
        """The JSON answer to `records`.

        Raises:
            HttpError: 422 naming each record and column that breaks the input contract.
        """
        read = served.scorer.inputs.read_records(records)
        if len(read.bad):
            raise _refusal(served, read.bad.to_pylist(), len(records), self._store.note)
        predictions = [
            {"prediction_id": name, "key": {c: record[c] for c in served.key if c in record}, **prediction}
            for name, record, prediction in zip(
                prediction_ids(len(records)), records, served.scorer.predict_rows(read.rows).records(), strict=True
            )
        ]
        return json_response({"model": served.facts, "predictions": predictions}).body

    async def _with_views(self, served: Served, records: Sequence[Record]) -> Sequence[Record]:
        at = datetime.now(UTC)
        for view in served.views:
            found = await self._store.get(view, records, at)
            records = [{**record, **values} if values else record for record, values in zip(records, found, strict=True)]
        return records

    def _release(self, work: "asyncio.Future[bytes] | None") -> None:
        """Give the place back when the work is over: a thread that outlives its request still holds its place."""
        if work is None or work.done():
            self._in_flight -= 1
        else:
            work.add_done_callback(self._release_late)

    def _release_late(self, work: "asyncio.Future[bytes]") -> None:
        self._in_flight -= 1
        if not work.cancelled():
            work.exception()


def parse_records(body: bytes, *, max_rows: int) -> list[dict[str, object]]:
    """The records of a body: ``{"records": [...]}``, a list of records, or one record.

    Raises:
        HttpError: 400 for malformed JSON (NaN and Infinity are), 413 for too many records, 422 for another shape.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"malformed JSON: {error}") from error
    records = _records_of(value)
    if not records:
        raise HttpError(422, "no records; send at least one")
    if len(records) > max_rows:
        raise HttpError(413, f"{len(records)} records, more than the {max_rows} that one request may have")
    problem = "a record is an object of column: value"
    problems = [{"index": i, "column": None, "problem": problem} for i, r in enumerate(records) if not isinstance(r, dict)]
    if problems:
        raise _unprocessable(problems, len(records), {})
    return records


def _records_of(value: object) -> list[Any]:
    """The list in any of the three shapes."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise HttpError(422, 'expected {"records": [{column: value, ...}, ...]}, a list of records, or one record')
    if not isinstance(value.get("records"), list):
        return [value]
    unknown = sorted(set(value) - {"records"})
    if unknown:
        raise HttpError(422, f"unknown field {unknown[0][:80]!r} beside records; a request has records only")
    return list(value["records"])


def prediction_ids(num: int) -> list[str]:
    """`num` unique names, as UUID version 7 in hex: the first 12 digits are the time in ms, so they sort by time."""
    head = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    noise = os.urandom(10 * num)
    out = []
    for i in range(num):
        tail = bytearray(noise[10 * i : 10 * i + 10])
        tail[0] = 0x70 | (tail[0] & 0x0F)
        tail[2] = 0x80 | (tail[2] & 0x3F)
        out.append((head + tail).hex())
    return out


def _refusal(served: Served, bad: Sequence[Mapping[str, Any]], num_records: int, note: str) -> HttpError:
    sources = served.scorer.sources
    problems, from_views = [], False
    for row in bad:
        source = sources.get(row["column"], "")
        problem = row["reason"]
        if source.startswith(VIEW):
            from_views = True
            problem = f"{problem} (column of view {source.removeprefix(VIEW)}: {note})"
        problems.append({"index": row["row"], "column": row["column"], "problem": problem})
    return _unprocessable(problems, num_records, {"note": note} if from_views else {})


def _unprocessable(problems: Sequence[Mapping[str, Any]], num_records: int, facts: Mapping[str, Any]) -> HttpError:
    shown = list(problems[:MAX_PROBLEMS])
    num_bad = len({p["index"] for p in problems})
    first = shown[0]
    where = f"record {first['index']}" + (f", column {first['column']}" if first["column"] else "")
    message = f"{num_bad} of {num_records} record(s) break the input contract; {where}: {first['problem']}"
    return HttpError(422, message, facts={"problems": shown, "num_problems": len(problems), **facts})
