"""What the helper does with an order: verify, compare, swap or restart, report."""

import contextlib
from collections.abc import Callable

from clm.artefacts.files import replace_durably, sweep_temporaries
from clm.errors import ArtefactError, ClmError, PromotionError
from clm.promotion import systemctl
from clm.promotion.directory_lock import directory_lock
from clm.promotion.env_file import value_of
from clm.promotion.rewrite import rewrite
from clm.promotion.switch_order import (
    CHECK,
    CHECK_FILE,
    MAX_BYTES,
    ORDER_FILE,
    REPORT_FILE,
    Action,
    Order,
    Report,
    decode_order,
    is_name,
    name_of,
)
from clm.switch.careful import read_small
from clm.switch.site import KEY, Site
from clm.switch.targets import FOUND, remember, target_of

_LOCK_WAIT_S = 5.0


def serve(
    site: Site,
    name: str,
    *,
    restart: Callable[[str], None] = systemctl.restart,
    checkpoint: Callable[[str], None] = lambda _point: None,
) -> Report:
    """Do what the order for this target asks, and leave a durable report; of trouble it says the code.

    Raises:
        PromotionError, ArtefactError: the report itself cannot be written, or the name is none of ours.
    """
    if name != CHECK and not is_name(name):
        raise PromotionError("SWITCH_REFUSED", f"{name!r} is no name of a target; nothing was done")
    with directory_lock(site.own_dir, missing="SWITCH_FAILED", busy="SWITCH_BUSY", wait_s=_LOCK_WAIT_S):
        _sweep(site)
        if name == CHECK:
            report = _reported(Report(order_id=CHECK), lambda: _check(site))
            _write(site, CHECK_FILE, report)
            return report
        order = decode_order(read_small(site.orders_dir / ORDER_FILE, MAX_BYTES))
        report = _reported(
            Report(order_id=order.order_id), lambda: _follow(site, name, order, restart, checkpoint)
        )
        _write(site, REPORT_FILE, report)
        checkpoint("helper_reported")
    return report


def _sweep(site: Site) -> None:
    """Remove what a killed helper left of its own; where that fails nothing depends on it."""
    for directory in (site.own_dir, site.own_dir / FOUND):
        if directory.is_dir():
            with contextlib.suppress(ArtefactError):
                sweep_temporaries(directory)


def _check(site: Site) -> None:
    """Find out whether the file could be rewritten, and remove what a killed helper left beside it."""
    site.env_file.sweep()
    snapshot = site.env_file.read()
    value_of(snapshot.data, KEY)
    site.env_file.refuse_unreplaceable(snapshot)


def _follow(
    site: Site,
    name: str,
    order: Order,
    restart: Callable[[str], None],
    checkpoint: Callable[[str], None],
) -> None:
    if order.name != name:
        raise PromotionError("SWITCH_REFUSED", f"the order is for {order.name}, not for {name}")
    if order.action is Action.POINT:
        _point(site, order, checkpoint)
    else:
        _restart(site, order, restart)
        checkpoint("helper_restarted")


def _point(site: Site, order: Order, checkpoint: Callable[[str], None]) -> None:
    target = target_of(site, order.name)
    checkpoint("helper_verified")
    site.env_file.sweep()
    snapshot = site.env_file.read()
    found = value_of(snapshot.data, KEY)
    if found != target.value:
        remember(site, found, snapshot.sha256)
    rewrite(
        site.env_file,
        KEY,
        expected=order.expected,
        target=target.value,
        sha256_before=target.env_sha256,
        before_replacing=lambda: checkpoint("helper_rewriting"),
    )
    checkpoint("helper_pointed")


def _restart(site: Site, order: Order, restart: Callable[[str], None]) -> None:
    """Restart on what the file names anyway: nothing is named by it that was not before."""
    named = value_of(site.env_file.read().data, KEY)
    if name_of(named, site.models_dir) != order.name:
        raise PromotionError(
            "ENV_CHANGED",
            f"{site.env_file.path} names {named or 'no model'} and not {order.name}; no restart",
        )
    restart(site.engine_unit)


def _reported(done: Report, work: Callable[[], None]) -> Report:
    try:
        work()
    except ClmError as error:
        return Report(order_id=done.order_id, code=error.code, message=error.message)
    except OSError as error:
        failed = ArtefactError("IO_ERROR", f"{error.filename or 'a file'}: {error.strerror}")
        return Report(order_id=done.order_id, code=failed.code, message=failed.message)
    return done


def _write(site: Site, name: str, report: Report) -> None:
    replace_durably(site.own_dir / name, report.encode(), mode=0o640)
