"""Predictor: answers with a promoted model from rolling windows, or abstains and says why."""

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
"""Default directory of the manifests, from the default of CLM_STATE_DIR."""
MAX_AGE_S = 3600.0
RANGE_SLACK = 1.0
"""How far a value may exceed the range seen in training, as a multiple of that range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The prediction for one symbol, or the reason for abstaining."""

    version: str
    p_win: float | None
    """None if the model abstains."""
    action: str
    """BUY, SELL or HOLD; HOLD if the model abstains."""
    confidence: float
    """P(WIN) for BUY, 1 - P(WIN) for SELL, 0.5 for HOLD; the telemetry uses the same definition."""
    abstains: Abstains | None = None
    reason: str = ""
    """One sentence if the model abstains, else empty."""


class Predictor:
    """Answers with one promoted model. Many threads may use it, also while `reload` changes the model."""

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
        """Load a model file whose hash equals that in its manifest.

        `path` is `model.pth` of an artefact, or a file that is named after its version; the manifest of the
        latter is read from `artefacts`. Rows may be up to `max_age_s` old. As in training, the last candle
        must have closed less than one interval ago.

        Raises:
            ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN, MODEL_UNREADABLE. A file with another hash is
                never unpickled.
        """
        return cls(Path(path), artefacts=Path(artefacts), max_age_s=max_age_s)

    def reload(self, path: Path | str | None = None) -> None:
        """Serve another file, or reload the same one; until then, requests use the current model.

        Rows and candles are kept if the new model reads the same inputs.

        Raises:
            ArtefactError: as `load`; the current model stays in use.
        """
        with self._adding:
            # Open first, assign last: if the file is bad, the current model and path stay.
            path = Path(path) if path else self._path
            self._served = _open(path, self._artefacts, self._max_age_s, before=self._served)
            self._path = path

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of the current model."""
        return self._served.manifest

    def add_row(
        self,
        symbol: str,
        decided_at: datetime,
        features: str | bytes | Mapping[str, float],
        feature_names: str | bytes | None = None,
    ) -> str:
        """Add a sample in the store's format and return "", or the reason why it cannot be used.

        The reasons are those of training (docs/reference/faults.md), and `out_of_order`.

        Raises:
            DataError: WRONG_INPUT if the model reads candles.
        """
        with self._adding:
            rows = _rows_of(self._served)
            values = _values(self._served.manifest.feature_names, features, feature_names)
            return values if isinstance(values, str) else rows.add(symbol, to_micros(decided_at), values)

    def add_candle(self, symbol: str, candle: Candle) -> str:
        """Add a closed candle and return "", or the reason why it cannot be used.

        Raises:
            DataError: WRONG_INPUT if the model reads rows.
        """
        with self._adding:
            return _candles_of(self._served).add(symbol, candle)

    def predict(self, symbol: str, now: datetime, features: Mapping[str, float] | None = None) -> Answer:
        """Return the answer for a symbol from its rolling window.

        `features` are the sample's features that the model reads in addition to candles, if any.

        Raises:
            DataError: FEATURES_MISSING if one of them is missing.
        """
        moment = to_micros(now)
        with self._adding:
            served = self._served
            if served.candles is None:
                window = _rows_of(served).window(symbol, moment)
            else:
                series = served.candles.series(symbol)
        if served.candles is not None:  # outside the lock: the series cannot change
            window = served.candle_window(series, moment, features or {})
        if isinstance(window, Abstention):
            return _abstain(served, window)
        return _answer(served, window)

    def answer(self, window_LC: NDArray[Any]) -> Answer:
        """Return the answer for a raw window: features in the manifest's order, oldest step first.

        Raises:
            ValueError: the window has another length, or fewer features.
        """
        served = self._served
        return _answer(served, np.asarray(window_LC, dtype=np.float64)[:, : served.n_features])

    def p_win(self, window_NLC: NDArray[Any], *, exact: bool = True, threads: int = 1) -> Floats:
        """Return P(WIN) of many raw windows without range checks; channels beyond the features are ignored.

        `exact=False` is faster, for screening; docs/reference/serving.md states the error. Predict the
        windows that matter again with `exact=True`. `threads` threads share the batches.
        """
        served = self._served
        window_NLC = window_NLC[:, :, : served.n_features]
        return served.model.p_win(window_NLC, exact=exact, threads=threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """A model and its inputs, replaced together by one assignment."""

    manifest: Manifest
    inputs: InputContract
    model: ServedModel
    low_C: Floats
    high_C: Floats
    """Limits beyond which the model abstains. Ignored features have wide limits, as 0 * infinity is NaN."""
    stepping_C: NDArray[np.bool_]
    """True for features that the model uses and that may change within a window."""
    rows: RowBook | None
    candles: CandleBook | None

    @property
    def n_features(self) -> int:
        return len(self.manifest.feature_names)

    def candle_window(
        self, series: CandleSeries, now: int, features: Mapping[str, float]
    ) -> Floats | Abstention:
        """Return the window of the candles' features; the sample's features are repeated at every step."""
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
                    raise DataError(
                        "FEATURES_MISSING", f"the model also reads the sample's {name}; pass it in `features`"
                    )
                window_LC[:, column] = features[name]
        return window_LC


def _open(path: Path, artefacts: Path, max_age_s: float, *, before: _Served | None) -> _Served:
    inside = path.name == MODEL_NAME
    # An artefact has its manifest next to model.pth; a promoted file is only named after its version.
    registry = DirectoryRegistry(path.absolute().parent.parent if inside else artefacts)
    manifest = registry.manifest(path.absolute().parent.name if inside else path.stem)
    data = _whole(path, manifest)
    inputs = manifest.inputs
    if inputs is None:
        raise ArtefactError(
            "ARTEFACT_TORN", f"the manifest of {manifest.version} does not contain its inputs; train again"
        )
    low_C, high_C, varies_C = (np.array(column) for column in (inputs.low_C, inputs.high_C, inputs.varies_C))
    slack_C = RANGE_SLACK * (high_C - low_C)
    names = manifest.feature_names
    # A sample's own features are repeated at every step, so they cannot show whether a window moves.
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
    """Return the bytes of a model file after checking their hash. Nothing is unpickled before.

    Raises:
        ArtefactError: ARTEFACT_TORN; IO_ERROR and others for a file that cannot be read.
    """
    with translated(f"cannot read {path}"):
        data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        raise ArtefactError(
            "ARTEFACT_TORN",
            f"{path} has {len(data)} bytes and sha256 {found}, its manifest says {manifest.size_bytes} and "
            f"{manifest.sha256}; restore it or train again",
        )
    return data


def _books(
    manifest: Manifest, inputs: InputContract, max_age_s: float, before: _Served | None
) -> tuple[RowBook | None, CandleBook | None]:
    """Return the books for rows and candles: the current ones if this model reads the same, else new ones."""
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
    """Return the named features of a row, or the reason why they are unusable, as in training."""
    if isinstance(features, Mapping):
        # As JSON text, so that a value that is not a number gets the same reason as in the store.
        features = orjson.dumps(dict(features), option=orjson.OPT_SERIALIZE_NUMPY)
    document = read_document(features, feature_names)
    if isinstance(document, str):
        return document
    found, values = document
    # More features than the model needs are fine: rows may serve several models.
    if not set(names) <= set(found):
        return "other_features"
    read_1C = np.array([as_numbers([values[found.index(name)] for name in names])])
    for reason, has_it_1 in why_unusable(read_1C).items():
        if has_it_1[0]:
            return reason
    values_C: Floats = read_1C[0]
    return values_C


def _answer(served: _Served, window_LC: Floats) -> Answer:
    # Negate the condition for passing: NaN fails both comparisons and so counts as outside.
    outside_C = ~((window_LC >= served.low_C) & (window_LC <= served.high_C)).all(axis=0)
    if outside_C.any():
        column = int(outside_C.argmax())
        name, low, high = served.manifest.feature_names[column], served.low_C[column], served.high_C[column]
        values_L = window_LC[:, column]
        return _abstain(
            served,
            Abstention(
                kind=Abstains.OUT_OF_RANGE,
                reason=f"{name} is {values_L.min():g} to {values_L.max():g}; allowed are {low:g} to {high:g}",
            ),
        )
    if served.stepping_C.any() and not np.ptp(window_LC[:, served.stepping_C], axis=0).any():
        reason = f"all {len(window_LC)} steps are the same: a repeated row contains no history"
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
