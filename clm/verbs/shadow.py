"""Gates 3 and 4 of a registered model, from the trading system's telemetry and the store's outcomes."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from clm.bus.streams import event_stream
from clm.bus.telemetry import CLOSED_STREAM, INTENT_STREAM, Telemetry, read_telemetry, telemetry_of
from clm.clock import SECOND, SystemClock, from_micros, to_micros
from clm.data.reading import parse_samples
from clm.domain.line import Line
from clm.domain.sample import UNRESOLVED
from clm.errors import UsageError
from clm.evaluation.shadow import SAME_MOMENT, Outcome, ShadowRecord, record_of
from clm.gates.shadow import judge_shadow
from clm.gates.verdict import GateVerdict
from clm.settings import Settings
from clm.store.contract import check_contract
from clm.store.samples import SqliteSampleSource
from clm.store.service import serving_since
from clm.wiring import redis_client


def shadow_verdicts(
    settings: Settings, version: str, *, file: Path | None = None
) -> tuple[GateVerdict, GateVerdict]:
    """Return `agreement` and `outcome_calibration` of a version; DEFER while evidence is missing.

    Raises:
        BusUnavailable: the streams cannot be read.
        DataError: the store breaks its contract.
        UsageError: SHADOW_FILE, `file` holds no events.
    """
    return judge_shadow(shadow_record(settings, version, file=file))


def shadow_record(settings: Settings, version: str, *, file: Path | None = None) -> ShadowRecord:
    """Return a version's shadow record; `file` replaces the streams with one JSON event per line.

    Raises:
        BusUnavailable, DataError, UsageError: as `shadow_verdicts`.
    """
    check_contract(settings.store)
    since = serving_since(settings.store, version, SystemClock())
    since_micros = None if since is None else to_micros(since)
    if file is None:
        telemetry = read_telemetry(
            redis_client(settings), version, line=settings.line, serving_since=since_micros
        )
    else:
        telemetry = _from_file(file, version, settings.line, since_micros)
    outcomes = (*telemetry.outcomes, *_recorded_outcomes(settings, telemetry))
    return record_of(version, telemetry.intents, outcomes, telemetry.left_out)


def _recorded_outcomes(settings: Settings, telemetry: Telemetry) -> Iterator[Outcome]:
    """Yield the store's outcomes for the period of the events."""
    if not telemetry.intents:
        return
    since = from_micros(min(intent.at for intent in telemetry.intents) - SAME_MOMENT)
    raw = SqliteSampleSource(settings.store).read(since, settings.max_rows)
    table = parse_samples(raw, cutoff=SystemClock().now(), features=())
    for row in range(len(table)):
        if table.resolved_at_R[row] != UNRESOLVED and table.market_return_R[row] > -1.0:
            yield Outcome(
                symbol=table.symbols[table.symbol_R[row]],
                opened_at=int(table.decided_at_R[row]),
                closed_at=int(table.resolved_at_R[row]),
                market_return=float(table.market_return_R[row]),
            )


def _from_file(file: Path, version: str, line: Line, since: int | None) -> Telemetry:
    events: dict[str, list[tuple[int, Mapping[bytes, bytes]]]] = {INTENT_STREAM: [], CLOSED_STREAM: []}
    try:
        for text in file.read_bytes().splitlines():
            event = orjson.loads(text) if text.strip() else {}
            entries = events.get(event_stream(str(event.get("event_type"))))
            if entries is not None:
                entries.append((_now(), {name.encode(): _bytes(value) for name, value in event.items()}))
    except (OSError, ValueError, TypeError, AttributeError) as exc:  # TypeError: orjson, nested too deeply
        raise UsageError("SHADOW_FILE", f"{file} does not have one JSON event per line: {exc}") from exc
    return telemetry_of(events[INTENT_STREAM], events[CLOSED_STREAM], version, line=line, serving_since=since)


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else orjson.dumps(value)


def _now() -> int:
    return to_micros(SystemClock().now()) // SECOND * SECOND
