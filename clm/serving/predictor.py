"""Predictor: a promoted file, the rolling windows of its symbols, and honest answers."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from clm.artefacts.files import translated
from clm.artefacts.manifest import InputContract, Manifest
from clm.artefacts.registry import MODEL_NAME, DirectoryRegistry
from clm.clock import to_micros
from clm.data.candles.catalogue import feature
from clm.data.candles.series import CandleSeries
from clm.data.candles.windows import PREFIX
from clm.data.features import MAX_MAGNITUDE, as_numbers, read_document, why_unusable
from clm.domain.sample import Floats
from clm.errors import ArtefactError, DataError
from clm.evaluation.predictions import ENGINE
from clm.serving.abstention import Abstains, Abstention
from clm.serving.candle_book import Candle, CandleBook, candle_window
from clm.serving.model import ServedModel
from clm.serving.row_book import RowBook

ARTEFACTS = Path("/var/lib/quantum-clm/artefacts")
"""Where manifests lie unless the caller says otherwise: the default of CLM_STATE_DIR."""
MAX_AGE_S = 3600.0
RANGE_SLACK = 1.0
"""How far beyond the range of its training a value may lie, in units of that range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model says of one symbol, or why it says nothing."""

    version: str
    p_win: float | None
    """None where it abstains."""
    action: str
    """BUY, SELL or HOLD; HOLD where it abstains."""
    confidence: float
    """P(WIN) for BUY, 1 - P(WIN) for SELL, 0.5 for HOLD, as the telemetry counts it."""
    abstains: Abstains | None = None
    reason: str = ""
    """One sentence where it abstains."""


class Predictor:
    """Answers with one promoted model; safe to use from many threads, the model may change meanwhile."""

    def __init__(self, path: Path, *, artefacts: Path = ARTEFACTS, max_age_s: float = MAX_AGE_S) -> None:
        """Load as `load` does."""
        self._artefacts = artefacts
        self._max_age_s = max_age_s
        self._adding = threading.Lock()
        self._path = path
        self._served = _open(path, artefacts, max_age_s, before=None)

    @classmethod
    def load(
        cls, path: Path | str, *, artefacts: Path | str = ARTEFACTS, max_age_s: float = MAX_AGE_S
    ) -> Self:
        """Load a model file that is, byte for byte, what its manifest says.

        `path` is `model.pth` of an artefact, or a file that is named after its version; then its manifest
        is looked for in `artefacts`. Rows may be `max_age_s` old; a candle, by the rule of training, less
        than one interval.

        Raises:
            ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN, MODEL_UNREADABLE; nothing was unpickled of a
                file whose hash is not known.
        """
        return cls(Path(path), artefacts=Path(artefacts), max_age_s=max_age_s)

    def reload(self, path: Path | str | None = None) -> None:
        """Serve another file, or reload the same one; requests meanwhile use the one before.

        Rows and candles are kept where the new model reads the same.

        Raises:
            ArtefactError: as `load`; the model before goes on.
        """
        with self._adding:
            path = Path(path) if path else self._path
            self._served = _open(path, self._artefacts, self._max_age_s, before=self._served)
            self._path = path

    @property
    def manifest(self) -> Manifest:
        """What is known of the model that answers now."""
        return self._served.manifest

    def add_row(
        self,
        symbol: str,
        decided_at: datetime,
        features: str | bytes | Mapping[str, float],
        feature_names: str | bytes | None = None,
    ) -> str:
        """Take a sample as the store has it and return "", or the reason why it cannot be used.

        The reasons are those that a training counts (docs/reference/faults.md), and `out_of_order`.

        Raises:
            DataError: WRONG_INPUT, where the model reads candles alone.
        """
        with self._adding:
            rows = _rows_of(self._served)
            values = _values(self._served.manifest.feature_names, features, feature_names)
            return values if isinstance(values, str) else rows.add(symbol, to_micros(decided_at), values)

    def add_candle(self, symbol: str, candle: Candle) -> str:
        """Take a closed candle and return "", or the reason why it cannot be used.

        Raises:
            DataError: WRONG_INPUT, where the model reads rows.
        """
        with self._adding:
            return _candles_of(self._served).add(symbol, candle)

    def predict(self, symbol: str, now: datetime, features: Mapping[str, float] | None = None) -> Answer:
        """Answer for a symbol from its rolling window.

        `features` are the sample's own, if the model reads some with the candles.

        Raises:
            DataError: FEATURES_MISSING, where one of them is not there.
        """
        moment = to_micros(now)
        with self._adding:
            served = self._served
            if served.candles is None:
                window = _rows_of(served).window(symbol, moment)
            else:
                series = served.candles.series(symbol)
        if served.candles is not None:  # computed outside the lock, the series stays what it was
            window = served.candle_window(series, moment, features or {})
        if isinstance(window, Abstention):
            return _abstain(served, window)
        return _answer(served, window)

    def answer(self, window_LC: NDArray[Any]) -> Answer:
        """Answer to a raw window of the caller's: features in the manifest's order, oldest step first.

        Raises:
            ValueError: it has another length, or fewer features.
        """
        served = self._served
        return _answer(served, np.asarray(window_LC, dtype=np.float64)[:, : served.n_features])

    def p_win(self, window_NLC: NDArray[Any], *, exact: bool = True, threads: int = 1) -> Floats:
        """Return P(WIN) of many raw windows at once, unjudged; channels beyond the features are ignored.

        Not `exact` is for screening: faster, and docs/reference/serving.md has the error. Ask again
        for what matters. `threads` share the batches.
        """
        served = self._served
        window_NLC = window_NLC[:, :, : served.n_features]
        return served.model.p_win(window_NLC, exact=exact, threads=threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """A model and what it reads; replaced as one."""

    manifest: Manifest
    inputs: InputContract
    model: ServedModel
    low_C: Floats
    high_C: Floats
    """Beyond these it abstains; far away for what the file ignores, but zero times infinity is no number."""
    stepping_C: NDArray[np.bool_]
    """True for features that count and may change within a window."""
    rows: RowBook | None
    candles: CandleBook | None

    @property
    def n_features(self) -> int:
        return len(self.manifest.feature_names)

    def candle_window(
        self, series: CandleSeries, now: int, features: Mapping[str, float]
    ) -> Floats | Abstention:
        """Return the window of the candles' features, with the sample's own repeated next to them."""
        names = self.manifest.feature_names
        from_candles = [column for column, name in enumerate(names) if name.startswith(PREFIX)]
        members = [feature(names[column].removeprefix(PREFIX)) for column in from_candles]
        steps = candle_window(series, now, members, self.manifest.context_length)
        if isinstance(steps, Abstention):
            return steps
        window_LC = np.empty((self.manifest.context_length, len(names)))
        window_LC[:, from_candles] = steps
        for column, name in enumerate(names):
            if not name.startswith(PREFIX):
                if name not in features:
                    raise DataError("FEATURES_MISSING", f"the model reads {name} of the sample, too")
                window_LC[:, column] = features[name]
        return window_LC


def _open(path: Path, artefacts: Path, max_age_s: float, *, before: _Served | None) -> _Served:
    inside = path.name == MODEL_NAME
    registry = DirectoryRegistry(path.absolute().parent.parent if inside else artefacts)
    manifest = registry.manifest(path.absolute().parent.name if inside else path.stem)
    data = _whole(path, manifest)
    inputs = manifest.inputs
    if inputs is None:
        raise ArtefactError(
            "ARTEFACT_TORN", f"the manifest of {manifest.version} does not say what it reads; train again"
        )
    low_C, high_C, varies_C = (np.array(column) for column in (inputs.low_C, inputs.high_C, inputs.varies_C))
    slack_C = RANGE_SLACK * (high_C - low_C)
    names = manifest.feature_names
    held_C = [inputs.window_source == "candles" and not name.startswith(PREFIX) for name in names]
    rows, candles = _books(manifest, inputs, max_age_s, before)
    return _Served(
        manifest=manifest,
        inputs=inputs,
        model=ServedModel(data, manifest.architecture, len(names)),
        low_C=np.where(varies_C, low_C - slack_C, -MAX_MAGNITUDE),
        high_C=np.where(varies_C, high_C + slack_C, MAX_MAGNITUDE),
        stepping_C=varies_C & ~np.array(held_C),
        rows=rows,
        candles=candles,
    )


def _whole(path: Path, manifest: Manifest) -> bytes:
    """Return the bytes of a model file after comparing their hash; nothing of them is unpickled before.

    Raises:
        ArtefactError: ARTEFACT_TORN; IO_ERROR and others for a file that cannot be read.
    """
    with translated(f"cannot read {path}"):
        data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        raise ArtefactError(
            "ARTEFACT_TORN",
            f"{path} has {len(data)} bytes of sha256 {found}, its manifest says {manifest.size_bytes} of "
            f"{manifest.sha256}; restore it or train again",
        )
    return data


def _books(
    manifest: Manifest, inputs: InputContract, max_age_s: float, before: _Served | None
) -> tuple[RowBook | None, CandleBook | None]:
    """Return where rows or candles are kept: the books before, where they hold what this model reads."""
    if inputs.window_source == "candles":
        kept = before.candles if before else None
        return None, kept if kept and kept.interval == inputs.interval else CandleBook(inputs.interval)
    if before and before.rows:
        same = before.manifest.feature_names, before.manifest.context_length
        if same == (manifest.feature_names, manifest.context_length):
            return before.rows, None
    return RowBook(len(manifest.feature_names), manifest.context_length, max_age_s), None


def _values(
    names: tuple[str, ...], features: str | bytes | Mapping[str, float], feature_names: str | bytes | None
) -> Floats | str:
    """Return the named features of a row, or why there are none, as a training reads them."""
    if isinstance(features, Mapping):
        # As text: what is not a number is reported as in the store.
        features = orjson.dumps(dict(features), option=orjson.OPT_SERIALIZE_NUMPY)
    document = read_document(features, feature_names)
    if isinstance(document, str):
        return document
    found, values = document
    if not set(names) <= set(found):
        return "other_features"
    read_1C = np.array([as_numbers([values[found.index(name)] for name in names])])
    for reason, has_it_1 in why_unusable(read_1C).items():
        if has_it_1[0]:
            return reason
    values_C: Floats = read_1C[0]
    return values_C


def _answer(served: _Served, window_LC: Floats) -> Answer:
    outside_C = ~((window_LC >= served.low_C) & (window_LC <= served.high_C)).all(axis=0)
    if outside_C.any():
        column = int(outside_C.argmax())
        name, low, high = served.manifest.feature_names[column], served.low_C[column], served.high_C[column]
        values_L = window_LC[:, column]
        return _abstain(
            served,
            Abstention(
                kind=Abstains.OUT_OF_RANGE,
                reason=f"{name} is {values_L.min():g} to {values_L.max():g}, trained was {low:g} to {high:g}",
            ),
        )
    if served.stepping_C.any() and not np.ptp(window_LC[:, served.stepping_C], axis=0).any():
        reason = f"all {len(window_LC)} steps are the same: one row repeated is no history"
        return _abstain(served, Abstention(kind=Abstains.CONSTANT_INPUT, reason=reason))
    (p_win,) = served.model.p_win(window_LC[None]).tolist()
    version = served.manifest.version
    if p_win > ENGINE.buy_above:
        return Answer(version=version, p_win=p_win, action="BUY", confidence=p_win)
    if p_win < ENGINE.sell_below:
        return Answer(version=version, p_win=p_win, action="SELL", confidence=1.0 - p_win)
    return Answer(version=version, p_win=p_win, action="HOLD", confidence=0.5)


def _abstain(served: _Served, why: Abstention) -> Answer:
    return Answer(
        version=served.manifest.version,
        p_win=None,
        action="HOLD",
        confidence=0.5,
        abstains=why.kind,
        reason=why.reason,
    )


def _rows_of(served: _Served) -> RowBook:
    if served.rows is None:
        raise DataError("WRONG_INPUT", f"{served.manifest.version} reads candles, not rows; use add_candle")
    return served.rows


def _candles_of(served: _Served) -> CandleBook:
    if served.candles is None:
        raise DataError("WRONG_INPUT", f"{served.manifest.version} reads rows, not candles; use add_row")
    return served.candles
