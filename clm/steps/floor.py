"""The signal floor: can plain models learn anything from the data?"""

from dataclasses import replace

from clm.data.audits import with_floor
from clm.ports import SignalProbe
from clm.steps.results import Data
from clm.steps.world import Cycle


def check_floor(cycle: Cycle, data: Data, probe: SignalProbe) -> Data:
    """Return the data with the skill of plain models, and with a finding if they have none.

    Raises:
        Interrupted: the stop signal was set.
    """
    floor = probe.measure(data.dataset, cycle.request.stop)
    return replace(data, floor=floor, findings=with_floor(data.findings, floor, cycle.policies.audit))
