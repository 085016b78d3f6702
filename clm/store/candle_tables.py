"""One candle file to columns: CSV, also in gzip or zip; JSON as freqtrade writes it; Feather and Parquet.

pyarrow reads the tables: it is fast, strict, and the only reader of two of the forms. It is loaded here and
with the first file, because it takes 50 MB.
"""

import gzip
import importlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clm.clock import SECOND
from clm.data.candles.file_names import FileName, read_file_name
from clm.data.candles.forms import PRICES, REQUIRED, Form, Misfit, columns_of, form_of
from clm.data.candles.parsing import RawCandles, moments_of, numbers_of
from clm.data.timestamps import UNREADABLE, parse_epochs
from clm.domain.markets import market_of
from clm.domain.sample import Floats, Ints
from clm.errors import DataError

SUFFIXES = (".csv", ".csv.gz", ".zip", ".json", ".json.gz", ".feather", ".parquet")
MAX_FILE_BYTES = 1_000_000_000
"""Uncompressed; about twelve million candles."""
_LOOKED_AT = 65_536
"""Bytes at the beginning of a file in which its header is."""
_LINES = 10
_EMPTY = "nothing"
"""Shown as the example where a value is missing."""
_NULLS = ["", "NULL", "null", "NA", "N/A", "NaN", "nan", "None"]


def read_tables(path: Path) -> Iterator[RawCandles]:
    """Yield the columns of one file; a zip archive may hold several.

    Raises:
        DataError: CANDLES_UNREADABLE, CANDLES_COLUMNS, CANDLES_TOO_BIG.
    """
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            yield from _archive(path)
        elif name.endswith((".json", ".json.gz")):
            yield _json(path, _content(path))
        elif name.endswith((".feather", ".parquet")):
            yield _arrow_file(path)
        else:
            yield _text(path, path.name, _content(path))
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        RuntimeError,
        UnicodeDecodeError,
        ValueError,
    ) as exc:
        raise DataError(
            "CANDLES_UNREADABLE", f"{path} cannot be read: {exc}; download it again, or remove it"
        ) from exc


def _content(path: Path) -> bytes:
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as handle:
        return _bounded(path, handle)


def _bounded(path: Path, handle: Any) -> bytes:
    data: bytes = handle.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise DataError(
            "CANDLES_TOO_BIG", f"{path} is more than {MAX_FILE_BYTES:,} bytes; split it, one file a symbol"
        )
    return data


def _archive(path: Path) -> Iterator[RawCandles]:
    with zipfile.ZipFile(path) as archive:
        tables = [info for info in archive.infolist() if info.filename.lower().endswith(".csv")]
        if not tables:
            raise ValueError("the archive holds no .csv")
        for info in tables:
            with archive.open(info) as member:
                yield _text(path, Path(info.filename).name, _bounded(path, member))


def _text(path: Path, name: str, data: bytes) -> RawCandles:
    stated = read_file_name(name)
    first = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").splitlines()[:_LINES]
    form = form_of([line.decode() for line in first], stated.market)
    if isinstance(form, Misfit):
        raise _columns_error(path, form)
    table, ragged = _csv_table(data, form)
    columns = {
        column: table.column(place)
        for column, place in zip(form.place_of, range(len(form.place_of)), strict=True)
    }
    return _raw(
        path,
        columns,
        stated=FileName(market=market_of(form.ticker), written=form.ticker) if form.ticker else stated,
        rejected={"wrong_number_of_fields": ragged} if ragged else {},
    )


def _csv_table(data: bytes, form: Form) -> tuple[Any, int]:
    """Return the columns in the order of `form.place_of`, and how many lines do not fit."""
    csv: Any = importlib.import_module("pyarrow.csv")
    arrow: Any = importlib.import_module("pyarrow")
    # The system's allocator returns a table's memory; arrow's own keeps it for a next one of that size.
    arrow.set_memory_pool(arrow.system_memory_pool())
    ragged = 0

    def skip(_row: Any) -> str:
        nonlocal ragged
        ragged += 1
        return "skip"

    names = [str(place) for place in range(form.n_columns)]
    wanted = [str(place) for place in form.place_of.values()]

    def read(types: Mapping[str, Any]) -> Any:
        nonlocal ragged
        ragged = 0
        return csv.read_csv(
            arrow.BufferReader(data),
            read_options=csv.ReadOptions(skip_rows=form.lines_before, column_names=names, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=form.delimiter, invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(
                include_columns=wanted, column_types=types, null_values=_NULLS, strings_can_be_null=True
            ),
        )

    prices = {str(form.place_of[name]): arrow.float64() for name in PRICES}
    try:
        return read(prices), ragged
    except arrow.ArrowInvalid as exc:
        if "conversion error" not in str(exc):
            raise
    # A value later in the file is not of the type that the first ones are: every value by itself.
    return read({name: arrow.string() for name in wanted}), ragged


def _json(path: Path, data: bytes) -> RawCandles:
    rows = orjson.loads(data)
    stated = read_file_name(path.name)
    if not isinstance(rows, list) or not rows:
        raise _columns_error(path, Misfit(reason="is not a list of candles"))
    if isinstance(rows[0], dict):
        names = list(rows[0])
        place_of = columns_of(names, stated.market)
        if isinstance(place_of, Misfit):
            raise _columns_error(path, place_of)
        objects = [row for row in rows if isinstance(row, dict)]
        columns = {column: [row.get(names[place]) for row in objects] for column, place in place_of.items()}
    else:
        lists = [row for row in rows if isinstance(row, list) and len(row) >= len(REQUIRED)]
        columns = {column: [row[place] for row in lists] for place, column in enumerate(REQUIRED)}
    ragged = len(rows) - len(columns["timestamp"])
    return _raw(
        path,
        columns,
        stated=stated,
        rejected={"wrong_number_of_fields": ragged} if ragged else {},
    )


def _arrow_file(path: Path) -> RawCandles:
    feather: Any = importlib.import_module("pyarrow.feather")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    stated = read_file_name(path.name)
    is_parquet = path.name.lower().endswith(".parquet")
    table = parquet.read_table(path) if is_parquet else feather.read_table(path, memory_map=False)
    place_of = columns_of(table.column_names, stated.market)
    if isinstance(place_of, Misfit):
        raise _columns_error(path, place_of)
    columns = {column: table.column(place) for column, place in place_of.items()}
    return _raw(path, columns, stated=stated, rejected={})


def _raw(
    path: Path, columns: Mapping[str, Any], *, stated: FileName, rejected: Mapping[str, int]
) -> RawCandles:
    """Return columns of pyarrow or lists as numbers.

    Raises:
        DataError: CANDLES_COLUMNS, nothing names the market.
    """
    if "symbol" not in columns and not stated.market:
        raise DataError(
            "CANDLES_COLUMNS",
            f"{path} does not name one market; name the file as BTCUSDT-1h.csv, or add a column symbol",
        )
    examples: dict[str, str] = {}
    opened_at_T, odd_time = _moments(columns["timestamp"])
    if odd_time:
        examples["bad_timestamp"] = odd_time if odd_time == _EMPTY else f"{odd_time!r:.40}"
    prices = []
    for column in PRICES:
        numbers_T, odd = _numbers(columns[column])
        prices.append(numbers_T)
        if odd:
            examples.setdefault("bad_number", f"{column} {odd}")
    code_T, names = _codes(columns["symbol"]) if "symbol" in columns else (None, ())
    return RawCandles(
        opened_at_T=opened_at_T,
        prices_TP=np.stack(prices, axis=1),
        market=stated.market,
        written=stated.written,
        code_T=code_T,
        names=names,
        source=path.name,
        written_at=round(path.stat().st_mtime * SECOND),
        rejected=rejected,
        examples=examples,
    )


def _moments(column: Any) -> tuple[Ints, str]:
    """Return the moments of a column, and one value that is none."""
    arrow: Any = importlib.import_module("pyarrow")
    if isinstance(column, list):
        column = arrow.array([value if isinstance(value, (int, str)) else None for value in column])
    kind = column.type
    if arrow.types.is_timestamp(kind) or arrow.types.is_date(kind):
        micros = column.cast(arrow.timestamp("us", getattr(kind, "tz", None)), safe=False)
        return _within(micros.cast(arrow.int64())), _EMPTY if column.null_count else ""
    if arrow.types.is_integer(kind) and not column.null_count:
        return _read_epochs(column.to_numpy())
    if arrow.types.is_integer(kind) or arrow.types.is_floating(kind):
        return _read_epochs(column.cast(arrow.float64()).to_numpy())
    return moments_of(column.to_pylist())


def _within(micros: Any) -> Ints:
    numbers_T = micros.fill_null(UNREADABLE).to_numpy()
    return np.where(parse_epochs(numbers_T) == numbers_T, numbers_T, UNREADABLE)


def _read_epochs(numbers_T: Any) -> tuple[Ints, str]:
    with np.errstate(invalid="ignore"):  # NaN is in no unit
        micros_T = parse_epochs(numbers_T)
    bad_T = numbers_T[micros_T == UNREADABLE]
    if not len(bad_T):
        return micros_T, ""
    return micros_T, _EMPTY if np.isnan(bad_T[0]) else str(bad_T[0])


def _numbers(column: Any) -> tuple[Floats, str]:
    arrow: Any = importlib.import_module("pyarrow")
    if isinstance(column, list):
        return numbers_of(column)
    if arrow.types.is_floating(column.type) or arrow.types.is_integer(column.type):
        return np.array(column.cast(arrow.float64()).to_numpy(), dtype=np.float64), ""
    if arrow.types.is_null(column.type):
        return np.full(len(column), np.nan), ""
    return numbers_of(column.to_pylist())


def _codes(column: Any) -> tuple[Ints, Sequence[object]]:
    """Return a column of names as places in its different values."""
    arrow: Any = importlib.import_module("pyarrow")
    names = arrow.array(column) if isinstance(column, list) else column
    names = names.combine_chunks() if hasattr(names, "combine_chunks") else names
    coded = names.cast(arrow.string()).dictionary_encode(null_encoding="encode")
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()


def _columns_error(path: Path, misfit: Misfit) -> DataError:
    return DataError(
        "CANDLES_COLUMNS",
        f"{path} {misfit.reason}; a candle file has {', '.join(REQUIRED)} (docs/reference/features.md)",
    )
