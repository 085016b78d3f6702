"""The Redis connection and the translation of its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from clm.bus.bounded import BoundedParser
from clm.errors import BusUnavailable, ConfigError

SOCKET_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 3.0
HEALTH_CHECK_S = 30


def connect(
    url: str, password: str | None = None, *, socket_timeout_s: float = SOCKET_TIMEOUT_S
) -> redis.Redis:
    """Return a client that connects on its first command and never retries.

    One reply takes bounded memory (`clm.bus.bounded`). Retrying XADD after a lost reply would add a second
    entry (fault C9), so only our loops retry. RESP2 and bytes are pinned to get the same replies from every
    version.

    Raises:
        ConfigError: REDIS_URL.
    """
    _check(url)
    client = redis.Redis.from_url(
        url,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=HEALTH_CHECK_S,
        decode_responses=False,
        protocol=2,
        parser_class=BoundedParser,
        driver_info=None,  # CLIENT SETINFO is unknown before 7.2 and outside our ACL
    )
    # redis-py's own callback cannot read the reply with JUSTID.
    client.set_response_callback("XAUTOCLAIM", lambda reply, **_options: reply)
    if password:
        client.connection_pool.connection_kwargs["password"] = password
    return client


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"redis", "rediss"} or (parts.scheme == "unix" and bool(parts.path))
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        # Raised outside the except block: the cause's text may contain part of the password.
        raise ConfigError(
            "REDIS_URL",
            f"{redacted(url)} is not a Redis address; use redis://host:6379/0 or unix:///path/to/socket",
        )
    if parts.query and not all(option.startswith("db=") for option in parts.query.split("&")):
        raise ConfigError(
            "REDIS_URL",
            f"{redacted(url)} has unsupported options; only db= is allowed after the `?`",
        )


def redacted(url: str) -> str:
    """Return the address without user, password and options, safe to log."""
    scheme, separator, rest = url.partition("://")
    return (
        f"{scheme}{separator}{rest.rsplit('@', 1)[-1].partition('?')[0]}" if separator else "the given text"
    )


def address(client: redis.Redis) -> str:
    """Return the client's address without secrets."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"unix://{options['path']}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


@contextmanager
def talking_to(client: redis.Redis) -> Iterator[None]:
    """Translate redis-py exceptions raised in the block into BusUnavailable."""
    try:
        yield
    except (RedisError, OSError, UnicodeError) as exc:
        raise refused(exc, address(client)) from exc


_MEANINGS: dict[str, str] = {
    "REDIS_AUTH": "denied access: {detail}; check the password file and the ACL of the user",
    "REDIS_MISCONF": "cannot save to disk (MISCONF) and rejects writes: free space or repair its dir",
    "REDIS_OOM": "is out of memory (OOM) and rejects writes: raise maxmemory or trim streams",
    "REDIS_LOADING": "is loading its data set (LOADING); it replies when loading has finished",
    "REDIS_BUSY": "is busy with a script (BUSY); it replies when the script has finished",
    "REDIS_READONLY": "is a replica (READONLY); CLM_REDIS_URL must name the primary",
    "REDIS_MASTERDOWN": "is a replica that lost its primary (MASTERDOWN)",
    "REDIS_WRONGTYPE": "has a key of the wrong type (WRONGTYPE): {detail}; rename that key",
    "REDIS_TIMEOUT": "timed out: {detail}",
    "REDIS_PROTOCOL": "sent an invalid reply: {detail}",
    "REDIS_DOWN": "cannot be reached: {detail}; is redis-server running?",
    "REDIS_ERROR": "rejected a command: {detail}",
}

_CLASSES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    # Order matters: several of these are subclasses of ConnectionError.
    ((AuthenticationError, AuthorizationError, NoPermissionError), "REDIS_AUTH"),
    ((AuthenticationWrongNumberOfArgsError,), "REDIS_AUTH"),
    ((BusyLoadingError,), "REDIS_LOADING"),
    ((OutOfMemoryError,), "REDIS_OOM"),
    ((ReadOnlyError,), "REDIS_READONLY"),
    ((MasterDownError,), "REDIS_MASTERDOWN"),
    ((InvalidResponse,), "REDIS_PROTOCOL"),
)


def refused(exc: Exception, where: str, key: str = "") -> BusUnavailable:
    """Return the BusUnavailable for a redis-py exception."""
    code = _code(exc)
    text = " ".join(str(exc).split())[:200] or type(exc).__name__
    detail = f"{key}: {text}" if key else text
    return BusUnavailable(code, f"Redis at {where} {_MEANINGS[code].format(detail=detail)}")


def _code(exc: Exception) -> str:
    for classes, code in _CLASSES:
        if isinstance(exc, classes):
            return code
    if isinstance(exc, ResponseError):
        named = f"REDIS_{reply_word(exc)}"
        return named if named in _MEANINGS else "REDIS_ERROR"
    if isinstance(exc, redis.TimeoutError | TimeoutError):
        return "REDIS_TIMEOUT"
    return "REDIS_DOWN" if isinstance(exc, redis.ConnectionError | OSError | UnicodeError) else "REDIS_ERROR"


def reply_word(exc: Exception) -> str:
    """Return the first word of an error reply: NOGROUP, UNBLOCKED, WRONGTYPE, MISCONF, ..."""
    return str(exc).partition(" ")[0].rstrip(":")
