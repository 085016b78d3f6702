"""The switch made by a root helper that user qt may start and cannot bend: see clm/switch."""

from collections.abc import Callable
from pathlib import Path

from clm.artefacts.files import replace_durably, sweep_temporaries
from clm.errors import PromotionError
from clm.promotion.env_file import EnvFile
from clm.promotion.switch_order import (
    CHECK,
    CHECK_FILE,
    ORDER_FILE,
    REPORT_FILE,
    UNIT,
    Action,
    Order,
    Report,
    decode_report,
    name_of,
)
from clm.promotion.systemctl import systemctl

REPORTS_DIR = Path("/var/lib/quantum-clm-switch")
"""Root's: what the helper writes for us to read."""
_START_TIMEOUT_S = 240.0
"""Above the helper's own TimeoutStartSec, which covers the restart of the engine."""


def start_unit(name: str) -> None:
    """Run the helper for one target to its end.

    Raises:
        PromotionError: SWITCH_FAILED with what to do.
    """
    systemctl(UNIT.format(name=name), "start", code="SWITCH_FAILED", timeout_s=_START_TIMEOUT_S)


class HelperSwitch:
    """Fulfils ports.Switch: writes an order, starts `quantum-clm-switch@<target>`, reads its report."""

    def __init__(
        self,
        env_file: EnvFile,
        *,
        models_dir: Path,
        orders_dir: Path,
        reports_dir: Path = REPORTS_DIR,
        start: Callable[[str], None] = start_unit,
        checkpoint: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self._env_file = env_file
        self._models_dir = models_dir
        self._orders_dir = orders_dir
        self._reports_dir = reports_dir
        self._start = start
        self._checkpoint = checkpoint

    def refuse_unusable(self) -> None:
        """Let the helper say whether it could make a switch."""
        failed = self._started(CHECK)
        report = self._report(CHECK_FILE)
        if report and report.code:
            raise PromotionError(report.code, report.message)
        if failed:
            raise failed

    def point(self, *, expected: Path | None, target: Path | None, env_sha256_before: str) -> None:
        """Have the one value rewritten; of a line that is to go the helper knows the former hash itself."""
        self._checkpoint("rewriting")
        self._give(Action.POINT, target, None if expected is None else str(expected))

    def restart(self, model_path: Path | None) -> None:
        """Have the engine restarted."""
        self._give(Action.RESTART, model_path, None)

    def sweep(self) -> tuple[str, ...]:
        """Remove what a killed process left of ours, and have the helper remove what one of its kind left."""
        theirs = (self._env_file.path.resolve().parent, self._reports_dir, self._reports_dir / "found")
        left = tuple(sorted(path.name for directory in theirs for path in directory.glob(".*.clm-*.tmp")))
        if left:
            self.refuse_unusable()
        ours = sweep_temporaries(self._orders_dir) if self._orders_dir.is_dir() else ()
        return left + ours

    def _give(self, action: Action, target: Path | None, expected: str | None) -> None:
        order = Order.new(action, name_of(_text(target), self._models_dir), expected)
        self._orders_dir.mkdir(mode=0o750, exist_ok=True)
        replace_durably(self._orders_dir / ORDER_FILE, order.encode(), mode=0o640)
        failed = self._started(order.name)
        report = self._report(REPORT_FILE)
        if report is None or report.order_id != order.order_id:
            raise failed or PromotionError(
                "SWITCH_FAILED",
                f"{UNIT.format(name=order.name)} left no report of this order; see `journalctl -u` of it",
            )
        if report.code:
            raise PromotionError(report.code, report.message)

    def _started(self, name: str) -> PromotionError | None:
        try:
            self._start(name)
        except PromotionError as error:
            return error
        return None

    def _report(self, name: str) -> Report | None:
        try:
            return decode_report((self._reports_dir / name).read_bytes())
        except (OSError, PromotionError):
            # Never written, or torn: what systemd said of the unit is then all there is to tell.
            return None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
