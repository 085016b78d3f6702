"""A server with a running engine, ended with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clm.store.create import create_store
from clm.store.migrate import migrate
from tests.promotion.server import Server, free_port


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store with our tables."""
    path = tmp_path_factory.mktemp("store") / "store.db"
    create_store(path)
    migrate(path)
    return path


@pytest.fixture
def stopped_server(tmp_path: Path, store_template: Path) -> Iterator[Server]:
    """Everything in place, the engine not started."""
    server = Server(root=tmp_path, port=free_port())
    server.lay_out(store_template)
    yield server
    server.engine.stop()


@pytest.fixture
def server(stopped_server: Server) -> Server:
    """An engine that serves the champion."""
    stopped_server.start()
    return stopped_server


@pytest.fixture
def bare_server(tmp_path: Path, store_template: Path) -> Iterator[Server]:
    """Before the first promotion: the file names no model, no engine runs."""
    server = Server(root=tmp_path, port=free_port())
    server.lay_out(store_template, champion=False)
    yield server
    server.engine.stop()
