"""Settings of serving: where endpoints listen, their limits, and what one endpoint serves."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from raypipe.core.config import config

Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


@config
class Limits:
    """What one replica takes from a client; more is refused with a status that says so.

    Attributes:
        max_rows: Records per request (413).
        max_body_bytes: Size of a request's body (413).
        max_in_flight: Requests at work in one replica at a time (429).
        timeout_s: Time for one request (504).
    """

    max_rows: Annotated[int, Field(ge=1)] = 1000
    max_body_bytes: Annotated[int, Field(ge=1)] = 2**20
    max_in_flight: Annotated[int, Field(ge=1)] = 64
    timeout_s: Annotated[float, Field(gt=0)] = 30.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as Serve keeps them."""
        return dict(TypeAdapter(Limits).dump_python(self))


@config
class Serving:
    """Where endpoints listen, and how they run on the cluster.

    Attributes:
        host: Address to listen on; endpoints have no authentication yet, so this machine only by default.
        port: Port of all endpoints of the cluster.
        ingress: ``auto`` takes HAProxy where the cluster has it and else says that it takes Serve's Python proxy;
            ``haproxy`` demands it; ``python`` does without.
        num_replicas: Processes of one endpoint.
        cpus_per_replica: Logical CPUs that each of them reserves.
        limits: What one replica takes from a client.
        deploy_timeout_s: Time for a version to come up.
        drain_s: How long a replaced replica still answers; also the time that shutting down takes at least.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    ingress: Literal["auto", "haproxy", "python"] = "auto"
    num_replicas: Annotated[int, Field(ge=1)] = 1
    cpus_per_replica: Annotated[float, Field(gt=0)] = 0.5
    limits: Limits = Limits()
    deploy_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    drain_s: Annotated[float, Field(ge=0)] = 1.0

    @property
    def url(self) -> str:
        """Address of the root of all endpoints, as reached from the same machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@config
class EndpointSpec:
    """One endpoint: a name on the cluster, a path, and the model version behind it.

    Attributes:
        name: Name of the endpoint; deploying the same name again replaces its version.
        model: Registered name of the model.
        version: Its version number; an alias is resolved before this point, never in a replica.
        digest: Digest that the bundle must have.
        bundle_uri: Folder of the bundle, readable from every node.
        route_prefix: Path under which the endpoint answers; ``/`` when it is the only one.
        key: Columns that name a row; an answer repeats them where the record has them.
    """

    name: Text
    model: Text
    version: Annotated[int, Field(ge=0)]
    digest: Digest
    bundle_uri: Text
    route_prefix: Annotated[str, Field(pattern=r"^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?$")] = "/"
    key: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as Serve keeps them."""
        return dict(TypeAdapter(EndpointSpec).dump_python(self, mode="json"))
