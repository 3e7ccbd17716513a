"""What a campaign found."""

import dataclasses
from typing import Any


@dataclasses.dataclass
class Outcome:
    """Counts, and every finding in words.

    files, kills, faults, readings: how many were tried; readings are of damaged lists, matrices and the like.
    failed: files that were reported as failed. crashes, hangs: files that ended or outlasted a worker.
    shortened: files that became shorter without a warning. lost: files that could have been decoded for the
    most part, and were reported as failed instead.
    """

    files: int = 0
    kills: int = 0
    faults: int = 0
    readings: int = 0
    failed: int = 0
    crashes: int = 0
    hangs: int = 0
    shortened: int = 0
    lost: int = 0
    lost_kinds: dict[str, int] = dataclasses.field(default_factory=dict)
    findings: list[str] = dataclasses.field(default_factory=list)

    def wrong(self, where: str, what: str) -> None:
        """Note a finding."""
        self.findings.append(f"{where}: {what}")

    def lose(self, kind: str) -> None:
        """Count a file that is lost."""
        self.lost += 1
        self.lost_kinds[kind] = self.lost_kinds.get(kind, 0) + 1

    def line(self) -> str:
        """The figures so far."""
        counts = {
            "files": self.files, "failed": self.failed, "crashes": self.crashes, "hangs": self.hangs,
            "shortened": self.shortened, "lost": self.lost, "kills": self.kills, "faults": self.faults,
            "readings": self.readings, "findings": len(self.findings),
        }  # fmt: skip
        return ", ".join(f"{name} {count}" for name, count in counts.items())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)
