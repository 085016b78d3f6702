"""The fixtures of a server with a running engine, which belong to the promotions."""

from tests.promotion.conftest import bare_server, server, stopped_server, store_template

__all__ = ["bare_server", "server", "stopped_server", "store_template"]
