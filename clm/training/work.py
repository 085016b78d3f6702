"""What a handler works with besides its inputs."""

from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.records import encode_line, write_record
from clm.questions.question import Files


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The place of a question, and how a handler reports before it is done."""

    files: Files
    parented: bool = True
    """False if a person started this process."""

    @property
    def directory(self) -> Path:
        """Return the directory of the question."""
        return self.files.directory

    def report(self, progress: object) -> None:
        """Append a record to the progress; the parent reads it while this process works."""
        with self.files.progress.open("ab") as lines:
            lines.write(encode_line(progress))

    def keep(self, answer: object) -> None:
        """Write the answer as it is now; it survives this process being killed.

        Raises:
            ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
        """
        write_record(self.files.answer, answer)
