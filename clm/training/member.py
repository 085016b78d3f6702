"""Answer the question `members`: train unclaimed members in parallel with the process that asked it.

If a person starts it without a parent, it trains all members, with as many processes as the question allows.
"""

from dataclasses import replace

from clm.artefacts.records import encode_line
from clm.domain.job import EpochReport
from clm.questions.members import MembersJob
from clm.training.members import read_material, take_members, train_members
from clm.training.work import Work


def answer(inputs: MembersJob, work: Work) -> None:
    """Train members; each member has its own answer file and progress file.

    Raises:
        TrainingError: JOB_UNREADABLE, NAN_LOSS, ARCHITECTURE_UNKNOWN.
        ArtefactError: a file cannot be written.
    """
    job = replace(inputs, directory=work.directory)

    def report(number: int, epoch: EpochReport) -> None:
        # Append one line a write: the parent reads the file while it grows.
        with job.progress(number).open("ab") as progress:
            progress.write(encode_line(epoch))

    if work.parented:
        take_members(job, read_material(job), report)
    else:
        train_members(job, read_material(job), lambda _report: None)
