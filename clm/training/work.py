"""The context of a handler: its files, and how it reports."""

from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.records import encode_line, write_record
from clm.questions.question import Files


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The files of a question, and methods to report progress and write the answer."""

    files: Files
    parented: bool = True
    """False if a person started this process."""

    @property
    def directory(self) -> Path:
        """Return the directory of the question."""
        return self.files.directory

    def report(self, progress: object) -> None:
        """Append a record to the progress file; the parent reads it while this process runs."""
        with self.files.progress.open("ab") as lines:
            lines.write(encode_line(progress))

    def keep(self, answer: object) -> None:
        """Write the current answer durably, so that it survives if this process is killed.

        Raises:
            ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
        """
        write_record(self.files.answer, answer)
