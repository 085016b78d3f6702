"""Count triggers that were trimmed from a stream before they were read; they cannot be recovered."""

from collections.abc import Sequence
from typing import Any

import redis
import structlog
from redis.exceptions import NoPermissionError

from clm.logs import last_line

log = structlog.get_logger()


class LossCounter:
    """Compares entries added to a stream with entries read and present; not thread-safe.

    The `lag` of Redis is wrong after a trim, and its read count is corrected on the next read. So the read
    count of Redis is only the starting point.
    """

    def __init__(self, client: redis.Redis, group: str) -> None:
        self._client = client
        self._group = group.encode()
        self._read_of: dict[str, int] = {}
        """Entries of each stream that were read or reported lost since the group was created."""
        self._may_ask = True
        self.lost: dict[str, int] = {}
        """Losses by stream since the last report; the reader clears it."""

    def forget(self) -> None:
        """Start again from the server's counts: the connection or a stream was lost."""
        self._read_of.clear()

    def note_read(self, stream: str, n: int) -> None:
        """Count entries read."""
        if stream in self._read_of:
            self._read_of[stream] += n

    def look(self, streams: Sequence[str]) -> None:
        """Count the entries lost on these streams so far."""
        if not self._may_ask:
            return
        try:
            self._look(streams)
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            self._stop_asking(f"the server's XINFO reply is not valid: {last_line(exc)}")

    def _look(self, streams: Sequence[str]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for stream in streams:
            pipeline.xinfo_stream(stream)
            pipeline.xinfo_groups(stream)
        replies = pipeline.execute(raise_on_error=False)
        for stream, about, groups in zip(streams, replies[::2], replies[1::2], strict=True):
            if isinstance(about, NoPermissionError) or isinstance(groups, NoPermissionError):
                self._stop_asking("the ACL lacks +xinfo|stream +xinfo|groups")
                return
            if isinstance(about, Exception) or isinstance(groups, Exception):
                continue  # the next read reports a missing stream or a wrong type
            self._compare_ours(stream, about, groups)

    def _stop_asking(self, reason: str) -> None:
        self._may_ask = False
        log.warning("trigger.losses_unseen", reason=reason)

    def _compare_ours(self, stream: str, about: dict[str, Any], groups: Sequence[dict[str, Any]]) -> None:
        ours = next((group for group in groups if group["name"] == self._group), None)
        if ours:
            self._compare(stream, about, ours)

    def _compare(self, stream: str, about: dict[str, Any], group: dict[str, Any]) -> None:
        """Return entries added, minus entries read, minus entries waiting to be read."""
        added, read = about.get("entries-added"), group.get("entries-read")
        if added is None or read is None:
            return  # before Redis 7, or nothing read by the group yet: older entries are not lost
        # If another machine reads too, only Redis knows how much the group has read.
        known = self._read_of.get(stream, int(read)) if group["consumers"] == 1 else int(read)
        if known > added:
            known = int(read)  # the stream was recreated
        unread = _unread(about, _place(group["last-delivered-id"]))
        lost = 0 if unread is None else int(added) - known - unread
        self._read_of[stream] = known + max(0, lost)
        if lost > 0:
            self.lost[stream] = self.lost.get(stream, 0) + lost
            log.error("trigger.lost", stream=stream, n=lost)


def _unread(about: dict[str, Any], delivered: tuple[int, int]) -> int | None:
    """Return the number of unread entries if it is known without counting: all or zero."""
    first, last = about["first-entry"], about["last-entry"]
    if not first or _place(first[0]) > delivered:
        return int(about["length"])
    return 0 if _place(last[0]) <= delivered else None


def _place(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)
