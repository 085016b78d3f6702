"""Insert samples into a store that has none."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from sqlalchemy import text

from clm.clock import SystemClock
from clm.errors import DataError
from clm.store.contract import check_samples
from clm.store.existing import SAMPLE_COLUMNS
from clm.store.tables import SAMPLES
from clm.store.transactions import Store

_CHUNK = 5000


def fill_empty(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Insert samples, each with all 24 columns, in one transaction and return their number.

    Raises:
        DataError: STORE_NOT_EMPTY; SCHEMA; the store cannot be written.
        StoreBusy: STORE_BUSY.
    """
    names = ", ".join(SAMPLE_COLUMNS)
    marks = ", ".join("?" * len(SAMPLE_COLUMNS))
    statement = f"INSERT INTO {SAMPLES} ({names}) VALUES ({marks})"  # noqa: S608  # column names from our own list
    inserted = 0
    with Store(path, SystemClock()).writing() as connection:
        check_samples(path, connection)
        # Checked inside the transaction, so that no row can be written between the check and the inserts.
        if connection.execute(text(f"SELECT 1 FROM {SAMPLES} LIMIT 1")).first():  # noqa: S608  # a constant
            raise DataError(
                "STORE_NOT_EMPTY",
                f"{path} has samples; made-up ones are never mixed with real ones, "
                "make a store of their own with `clm store init`",
            )
        values = (tuple(row[name] for name in SAMPLE_COLUMNS) for row in rows)
        while chunk := list(islice(values, _CHUNK)):
            connection.exec_driver_sql(statement, chunk)
            inserted += len(chunk)
    return inserted
