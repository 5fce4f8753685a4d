"""OpenLineage events of what a job reads and writes, for Marquez and others that draw lineage across tools.

They are told by the way: a thread sends them, a job waits for it no longer than `LineageEvents.timeout_s` in all, and a
receiver that does not take one is named once and asked no more.
"""

import importlib
import os
import queue
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.console import say
from raypipe.registry._openlineage_models import Dataset, Event, State, as_run_event
from raypipe.registry._tracking import without_password

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient

_FILE, _HTTP = "file://", ("http://", "https://")
_API_KEY = "OPENLINEAGE_API_KEY"


@config
class LineageEvents:
    """Where OpenLineage events of ingest, train and score go. The environment may hold ``OPENLINEAGE_API_KEY``.

    Attributes:
        events: ``file:///PATH`` takes them as JSON lines, ``http(s)://HOST:PORT`` is a receiver such as Marquez; null tells
            nobody.
        endpoint: Path of the receiver.
        namespace: Namespace of the jobs.
        timeout_s: How long a job waits for the receiver, in all.
    """

    events: str | None = None
    endpoint: str = "api/v1/lineage"
    namespace: Annotated[str, Field(min_length=1)] = "raypipe"
    timeout_s: Annotated[float, Field(gt=0)] = 2.0

    @model_validator(mode="after")
    def _scheme_is_known(self) -> "LineageEvents":
        if self.events is not None and not self.events.startswith((_FILE, *_HTTP)):
            raise ValueError(f"events {self.events!r}: expected file:///PATH or http(s)://HOST:PORT")
        return self

    def open(self) -> "Events":
        """What a job tells its runs to."""
        return Events(self.namespace, _Nobody() if self.events is None else _Sender(self))


@dataclass
class ToldRun:
    """A run that is under way; what `complete` says goes into its last event."""

    run_id: str
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)

    def complete(
        self, *, inputs: Sequence[Dataset] | None = None, outputs: Sequence[Dataset] = (), tags: Mapping[str, str] | None = None
    ) -> None:
        """What the run read and wrote, and the ids under which others know it."""
        self.inputs = self.inputs if inputs is None else tuple(inputs)
        self.outputs, self.tags = tuple(outputs), dict(tags or {})


class Events:
    """Tells the runs of a job."""

    def __init__(self, namespace: str, sender: "Sends") -> None:
        self._namespace, self._sender = namespace, sender

    @contextmanager
    def run(self, job: str, *, inputs: Sequence[Dataset] = (), outputs: Sequence[Dataset] = ()) -> Iterator[ToldRun]:
        """A run of `job`: START now, COMPLETE when the block ends, FAIL with the error when it raises, ABORT when it
        is interrupted."""
        told = ToldRun(run_id=str(uuid.uuid4()), inputs=tuple(inputs), outputs=tuple(outputs))
        self._tell("START", job, told)
        try:
            yield told
        except BaseException as error:
            self._tell("FAIL" if isinstance(error, Exception) else "ABORT", job, told, error)
            raise
        else:
            self._tell("COMPLETE", job, told)
        finally:
            self._sender.flush()

    def _tell(self, state: State, job: str, told: ToldRun, error: BaseException | None = None) -> None:
        self._sender.send(
            Event(
                state=state,
                at=datetime.now(UTC),
                namespace=self._namespace,
                job=job,
                run_id=told.run_id,
                inputs=told.inputs,
                outputs=told.outputs,
                tags=dict(told.tags),
                message="" if error is None else f"{type(error).__name__}: {error}",
                trace="" if error is None else "".join(traceback.format_exception(error)),
            )
        )


class Sends(Protocol):
    """Takes events, and waits for those that it has taken."""

    def send(self, event: Event) -> None: ...

    def flush(self) -> None: ...


class _Nobody:
    """Takes events and does nothing."""

    def send(self, event: Event) -> None:
        """Ignore."""

    def flush(self) -> None:
        """Nothing waits."""


class _Sender:
    """Sends events in their order from a thread; the first failure is said and is the last attempt."""

    def __init__(self, settings: LineageEvents) -> None:
        self._settings, self._left_s = settings, settings.timeout_s
        self._waiting: queue.Queue[Event | threading.Event] = queue.Queue()
        self._given_up = False
        importlib.import_module("openlineage.client.facet_v2")  # half a second, which is not the receiver's
        threading.Thread(target=self._work, name="raypipe-lineage-events", daemon=True).start()

    def send(self, event: Event) -> None:
        """Take `event`; returns at once."""
        if not self._given_up:
            self._waiting.put(event)

    def flush(self) -> None:
        """Wait for what was taken, as long as the job's time for it lasts."""
        if self._given_up:
            return
        sent, started = threading.Event(), time.monotonic()
        self._waiting.put(sent)
        if not sent.wait(self._left_s):
            self._give_up(f"no answer within {self._settings.timeout_s:g} s")
        self._left_s = max(0.0, self._left_s - (time.monotonic() - started))

    def _work(self) -> None:
        client: OpenLineageClient | None = None
        while True:
            taken = self._waiting.get()
            if isinstance(taken, threading.Event):
                taken.set()
            elif not self._given_up:
                try:
                    client = client or _client(self._settings)
                    client.emit(as_run_event(taken))
                except Exception as error:  # noqa: BLE001  # whatever a receiver does, the job goes on
                    self._give_up(str(error) or type(error).__name__)

    def _give_up(self, problem: str) -> None:
        if not self._given_up:
            self._given_up = True
            where, why = without_password(self._settings.events or ""), " ".join(problem.split())[:300]
            say(f"warning: lineage.events={where} takes no events ({why}); the job goes on without")


def _client(settings: LineageEvents) -> "OpenLineageClient":
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import HttpConfig, HttpTransport, create_token_provider

    uri = settings.events or ""
    if uri.startswith(_FILE):
        path = Path(uri.removeprefix(_FILE))
        path.parent.mkdir(parents=True, exist_ok=True)
        return OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(path), append=True)))
    key = os.environ.get(_API_KEY)
    auth = create_token_provider({"type": "api_key", "api_key": key} if key else {})
    once = {"total": 0}
    http = HttpConfig(url=uri, endpoint=settings.endpoint, timeout=settings.timeout_s, auth=auth, retry=once)
    return OpenLineageClient(transport=HttpTransport(http))
