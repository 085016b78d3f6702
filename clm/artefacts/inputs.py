"""The input contract of a trained model, for its servers."""

from clm.artefacts.manifest import InputContract
from clm.data.channels import last_steps
from clm.data.dataset import Dataset
from clm.data.scaling import varies


def inputs_of(dataset: Dataset) -> InputContract:
    """Return where the windows came from, and the range of each feature at the training decisions."""
    last_NC = last_steps(dataset, dataset.split.train)
    intervals = {report.interval for report in dataset.candles if report.interval}
    return InputContract(
        window_source="candles" if dataset.candles else "history",
        interval=min(intervals, default=0),
        low_C=tuple(last_NC.min(axis=0).tolist()) if len(last_NC) else (),
        high_C=tuple(last_NC.max(axis=0).tolist()) if len(last_NC) else (),
        varies_C=tuple(varies(last_NC).tolist()),
    )
