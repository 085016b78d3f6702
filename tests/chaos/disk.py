"""A server on a disk of its own that can lose its power: ext4 in a file, in a private mount namespace."""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

from tests.chaos.place import Place

_CLONE_NEWNS = 0x00020000
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_MEGABYTES = 24
# Nothing is written by the clock or by a guess of the file system's: only what was synced survives.
_OPTIONS = "loop,commit=1000,noauto_da_alloc"


class DiskPlace(Place):
    """A place whose root is the mount point of an image that is recreated for each point."""

    @property
    def image(self) -> Path:
        return self.root.with_name(self.root.name + ".img")

    @property
    def pristine(self) -> Path:
        return self.root.with_name(self.root.name + ".pristine")

    def build(self, content: bytes, journal_mode: str = "delete") -> None:
        """Make the image; its mounts are seen by this process and its children alone."""
        private_mounts()
        self.root.mkdir()
        with self.image.open("wb") as image:
            image.truncate(_MEGABYTES << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(self.image)], check=True)
        self.mount()
        super().build(content, journal_mode)
        shutil.rmtree(self.base)
        self.unmount()
        self.image.rename(self.pristine)

    def reset(self) -> None:
        """Return to the first state, with the engine on the champion."""
        if self.root.is_mount():
            self.unmount()
        subprocess.run(["cp", "--sparse=always", str(self.pristine), str(self.image)], check=True)
        self.mount()
        self.boot()

    def mount(self) -> None:
        """Mount the image; what its journal holds is replayed."""
        subprocess.run(["mount", "-t", "ext4", "-o", _OPTIONS, str(self.image), str(self.root)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.root)], check=True)

    def lose_power(self) -> None:
        """Drop everything that has not reached the disk; from now on every access fails."""
        handle = os.open(self.root, os.O_RDONLY)
        fcntl.ioctl(handle, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        os.close(handle)

    def power_up(self) -> None:
        """Bring the machine up again: no process of before lives, the disk has what had reached it."""
        self.engine.stop()
        self.unmount()
        self.mount()


def private_mounts() -> None:
    """Leave the mount namespace of this machine; what is mounted from now on ends with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
