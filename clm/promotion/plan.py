"""Choose the next step of a promotion or of its way back from what is observed.

The engine may start at any instant: systemd restarts it after a crash, the machine reboots, or an operator
restarts it. It then loads the file that the environment file names. We may die at any instant as well. So
the following holds at every instant from the first step until a promotion has ended:

1. The environment file names the previous model (or no model, if it named none before) or the candidate.
   An operator may write another value. We leave that value alone and end the promotion.
2. The file that it names is whole: its SHA-256 is the recorded one.
3. The file of the previous model stays, so there is a way back until COMMITTED is recorded.
4. COMMITTED is recorded only after the engine was stable on the candidate for as long as the policy asks,
   and only while it is still on it.

The order of the steps follows. Each step relies on the steps before it.

- INSTALL before POINT: once a file is named, any start loads it. It must be whole first (2).
- POINT before RESTART: a restart loads the file that is named. An earlier restart would interrupt the engine
  and leave it on the other model.
- RESTART before CONFIRM: watching a process that runs on the other model proves nothing (4). An engine that
  restarted by itself after POINT is on the target already and is not restarted again.
- CONFIRM last: until then the promotion can still go back (3).

`next_step` returns the first step whose result is not observed. A step can be repeated safely and undoes no
earlier one, so without interference a walk has at most four steps. After a crash the walk goes on from what
is observed. Only `restarted` and `confirmed` are kept in memory, so the engine is watched again. One walk
restarts the engine at most once. If the engine is not on the target after that, CONFIRM fails and the caller
decides. The engine must also be on the target at the last look, when every other step is done.

The invariant treats the previous model and the candidate alike, so the way back is the same walk with the
previous model as its target. There INSTALL is never taken, because the registry may have no copy. If the
previous file is gone or changed, the way back ends as ROLLBACK_FAILED without POINT, which would break (2).

This module only chooses. The callers keep the invariant while they act:

- `forward.py` and `endings.py` take POINT only while the environment file names the other model of this
  promotion (1). The switch compares the value once more when it writes.
- `under_way.py` compares hashes whenever it observes. `forward.py` does so again right before POINT, and
  root's helper compares the file with its own record before it writes (2).
- `under_way.py` removes the candidate only while it is not named. Nothing here removes the previous model,
  and `retention.py` keeps both while a promotion is open (3).
- `verification.py` watches the engine for CONFIRM (4).
- Each change of the promotion's state is stored before the visible step it belongs to, so recovery finds it.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Step(StrEnum):
    """A step towards a target. Taking it twice does no harm."""

    INSTALL = "INSTALL"
    POINT = "POINT"
    RESTART = "RESTART"
    CONFIRM = "CONFIRM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The model that the engine should run on."""

    model_path: Path | None
    """None: the environment file names no model, as before the first promotion."""
    must_serve: bool = True
    """False if the engine did not run before. Then it only has to stop running on the other model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The state of the files, the engine and this walk."""

    installed: bool
    """The target's file is in the models directory and whole."""
    env_value: str | None
    engine_running: bool
    engine_path: str | None
    """The model path in the environment of the running process."""
    restarted: bool
    """We restarted the engine during this walk."""
    confirmed: bool
    """During this walk the engine was stable on the target for as long as the policy asks."""


def next_step(observed: Observed, target: Target) -> Step | None:
    """Return the first step whose result is not observed, or None if the target is reached."""
    path = None if target.model_path is None else str(target.model_path)
    if path is not None and not observed.installed:
        return Step.INSTALL
    if observed.env_value != path:
        return Step.POINT
    on_target = observed.engine_running and observed.engine_path == path
    idle = not target.must_serve and not observed.engine_running
    reached = on_target or idle
    if not reached and not observed.restarted:
        return Step.RESTART
    if not reached or (target.must_serve and not observed.confirmed):
        return Step.CONFIRM
    return None
