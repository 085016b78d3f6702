"""Notifications to systemd: sd_notify(3)."""

import warnings

from sdnotify import SystemdNotifier

from clm.logs import plain

MAX_STATUS = 500


class Notifier:
    """Notifies the service manager, if there is one; never raises."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Without NOTIFY_SOCKET, sdnotify leaks an unused socket.
            warnings.simplefilter("ignore", ResourceWarning)
            self._systemd = SystemdNotifier()

    def ready(self) -> None:
        """Report that the start is complete."""
        self._systemd.notify("READY=1")

    def status(self, text: str) -> None:
        """Set the line in `systemctl status`; control characters are escaped, long text is truncated."""
        # sd_notify(3): a message is a list of lines. An unescaped newline in the text would end STATUS= and
        # start another assignment.
        self._systemd.notify(f"STATUS={plain(text)[:MAX_STATUS]}")

    def watchdog(self) -> None:
        """Report that the main loop is alive."""
        self._systemd.notify("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._systemd.notify("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Request more time to start or stop."""
        # sd_notify(3): counted from this message, and never shorter than the unit's own time-out.
        self._systemd.notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")
