"""What systemd is told: sd_notify(3)."""

import warnings

from sdnotify import SystemdNotifier

from clm.logs import plain

MAX_STATUS = 500


class Notifier:
    """Speaks to the service manager where there is one, and to nobody otherwise; never raises."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Without NOTIFY_SOCKET sdnotify drops a socket that it opened and did not use.
            warnings.simplefilter("ignore", ResourceWarning)
            self._systemd = SystemdNotifier()

    def ready(self) -> None:
        """Say that the start is complete."""
        self._systemd.notify("READY=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows; control characters are escaped, a long text is cut."""
        self._systemd.notify(f"STATUS={plain(text)[:MAX_STATUS]}")

    def watchdog(self) -> None:
        """Say that the main loop is alive."""
        self._systemd.notify("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the daemon is about to end."""
        self._systemd.notify("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for more time to start or stop."""
        self._systemd.notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")
