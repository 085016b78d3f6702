"""Print an inventory as lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any

_MANY = 12
"""Maximum number of similar assets that are listed individually."""


def inventory_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `clm discover` prints."""
    for system in document["file_systems"]:
        yield f"disk    {', '.join(system['for'])}: {_space(system)}"
    yield from _store(document["store"])
    shown: dict[tuple[str, str], int] = {}
    for asset in document["assets"]:
        alike = (asset["kind"], asset["because"])
        shown[alike] = shown.get(alike, 0) + 1
        if shown[alike] <= _MANY:
            yield f"{'usable' if asset['usable'] else 'no    '}  {asset['kind']}: {asset['path']}"
            yield f"        {asset['because']}{_ranges(asset['details'])}"
    yield from (f"        … and {n - _MANY} more: {kind}" for (kind, _), n in shown.items() if n > _MANY)
    yield f"redis   {_redis(document['redis'])}"
    for unit in document["units"]:
        yield f"unit    {unit['unit']}: {unit.get('unreadable') or ', '.join(unit['paths'])}"
    for env in document["env_files"]:
        listed = env.get("unreadable") or ", ".join(f"{k}={v}" for k, v in env["variables"].items())
        if listed:
            yield f"env     {env['path']}: {listed}"
    yield from (f"?       {what}" for what in document["unreadable"])


def _space(system: Mapping[str, Any]) -> str:
    if "unreadable" in system:
        return str(system["unreadable"])
    inodes = system["free_inodes_share"]
    listed = f"{system['free_bytes'] / 1e9:.1f} GB free ({system['free_share'] or 0:.0%})"
    listed += f", {inodes:.0%} of the inodes" if inodes is not None else ""
    return listed + (", read-only" if system["read_only"] else "")


def _store(store: Mapping[str, Any]) -> Iterator[str]:
    if "unreadable" in store:
        yield f"store   {store['unreadable']}"
        return
    samples = store["samples"]
    yield f"store   {store['path']}: usable {'yes' if samples['usable'] else 'no'}, {samples['because']}"
    tables = ", ".join(
        f"{name} {'(secrets, not read)' if rows is None else f'{rows:,}'}"
        for name, rows in store["tables"].items()
    )
    yield f"        tables: {tables}"
    if samples["usable"]:
        yield f"        {samples['first']} to {samples['last']}; classes {_counts(samples['classes'])}"
        yield f"        symbols {_counts(samples['symbols'])}"
        complete = ", ".join(
            f"{name} {share:.0%}" for name, share in samples["features"]["completeness"].items()
        )
        yield f"        features {_counts(samples['features']['forms'])}: {complete}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _ranges(details: Mapping[str, Any]) -> str:
    symbols = details.get("symbols") or ()
    listed = [
        f"{s['symbol']} {s['candles']:,} of {s['interval_h']:g} h, {str(s['first'])[:10]} to "
        f"{str(s['last'])[:10]}, {s['gaps']} gaps"
        for s in symbols[:5]
        if s["candles"]
    ]
    if tables := details.get("tables"):
        listed.append(", ".join(f"{name} {rows}" for name, rows in list(tables.items())[:8]))
    if lines := details.get("lines"):
        listed.append(f"{lines:,} lines, {str(details['first'])[:19]} to {str(details['last'])[:19]}")
    return f" ({'; '.join(listed)})" if listed else ""


def _redis(facts: Mapping[str, Any]) -> str:
    if not facts["answers"]:
        return f"{facts['url']} does not answer: {facts['because']}"
    warning = "" if facts["streams_are_safe"] else "; streams may be evicted, use noeviction or volatile-lru"
    return (
        f"{facts['url']}: RDB saved {facts['rdb_last_save'] or 'never'} ({facts['rdb_last_save_status']}), "
        f"AOF {'on' if facts['aof'] else 'off'}, eviction {facts['eviction']}{warning}"
    )
