"""Rolling windows of each symbol's samples, equal to those of `clm.data.windows.history_windows`."""

import numpy as np

from clm.clock import SECOND
from clm.domain.sample import Floats
from clm.serving.abstention import Abstains, Abstention


class RowBook:
    """The latest rows of each symbol. Only one thread may add at a time."""

    def __init__(self, n_features: int, context_length: int, max_age_s: float) -> None:
        self._n_features = n_features
        self._context_length = context_length
        self._max_age_s = max_age_s
        self._rows: dict[str, _Rows] = {}

    def add(self, symbol: str, decided_at: int, values_C: Floats) -> str:
        """Append a row and return "", or "out_of_order" if it is older than the symbol's newest row."""
        rows = self._rows.get(symbol)
        if rows is None:
            rows = self._rows[symbol] = _Rows(self._n_features, self._context_length)
        if decided_at < rows.newest:
            return "out_of_order"
        rows.append(decided_at, values_C)
        return ""

    def window(self, symbol: str, now: int) -> Floats | Abstention:
        """Return the raw window x_LC that ends at the symbol's newest row, or why there is none."""
        rows = self._rows.get(symbol)
        if rows is None or len(rows) < self._context_length:
            return Abstention(
                kind=Abstains.TOO_LITTLE_HISTORY,
                reason=f"{symbol} has {len(rows) if rows else 0} of {self._context_length} rows",
            )
        age_s = (now - rows.newest) / SECOND
        # A negative age means that the row is from the future: a window must not use what was not yet known.
        if not 0 <= age_s <= self._max_age_s:
            return Abstention(
                kind=Abstains.STALE,
                reason=f"the newest row of {symbol} is {age_s:g} s old; allowed are 0 to {self._max_age_s:g}",
            )
        return rows.window()


class _Rows:
    """Rows of one symbol in a buffer twice as large as needed; a full buffer is replaced."""

    def __init__(self, n_features: int, context_length: int) -> None:
        self._context_length = context_length
        self._values_RC = np.empty((2 * context_length, n_features))
        self._count = 0
        self.newest = np.iinfo(np.int64).min

    def append(self, decided_at: int, values_C: Floats) -> None:
        if self._count == len(self._values_RC):
            # A new buffer, because windows that were returned earlier are views of the old one.
            kept = self._values_RC[1 - self._context_length :]
            self._values_RC = np.empty_like(self._values_RC)
            self._values_RC[: len(kept)] = kept
            self._count = len(kept)
        self._values_RC[self._count] = values_C
        self._count += 1
        self.newest = decided_at

    def window(self) -> Floats:
        return self._values_RC[self._count - self._context_length : self._count]

    def __len__(self) -> int:
        return self._count
