"""Instants as people write them in YAML: a day, or a day and a time, read on the clock of a named zone."""

import zoneinfo
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from raypipe.core.naming import did_you_mean


def parse_moment(value: Any) -> Any:
    """Text such as ``2013-10-01`` as a date, with a time as a datetime; anything else is left to the type's own check.

    Raises:
        ValueError: for other text.
    """
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value) if len(value) == len("2013-10-01") else datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("expected a day or an instant, such as 2013-10-01 or 2013-10-01T06:00:00Z") from error


def check_zone(name: str) -> str:
    """`name` when it is an IANA time zone.

    Raises:
        ValueError: with the nearest known names.
    """
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = did_you_mean(name, sorted(zoneinfo.available_timezones()))
        raise ValueError(f"unknown time zone {name!r}{near}") from error
    return name


Moment = Annotated[datetime | date, BeforeValidator(parse_moment)]
Zone = Annotated[str, AfterValidator(check_zone)]


def to_utc(moment: date | datetime, zone: str) -> datetime:
    """The instant of `moment`: a day begins at midnight in `zone`, a time without a zone of its own is read in `zone`."""
    at = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
    return (at if at.tzinfo else at.replace(tzinfo=zoneinfo.ZoneInfo(zone))).astimezone(UTC)
