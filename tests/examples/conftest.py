"""A real redis-server for the engine's telemetry."""

from tests.bus.conftest import make_server, server

__all__ = ["make_server", "server"]
