"""What a campaign found."""

import dataclasses
from typing import Any


@dataclasses.dataclass
class Outcome:
    """Counts, and every finding in words.

    files, kills, faults: how many were tried. failed: files that were reported as failed. crashes, hangs:
    files that ended or outlasted a worker. shortened: files that became shorter without a warning. lost:
    files that could have been decoded for the most part, and were reported as failed instead.
    """

    files: int = 0
    kills: int = 0
    faults: int = 0
    failed: int = 0
    crashes: int = 0
    hangs: int = 0
    shortened: int = 0
    lost: int = 0
    findings: list[str] = dataclasses.field(default_factory=list)

    def wrong(self, where: str, what: str) -> None:
        """Note a finding."""
        self.findings.append(f"{where}: {what}")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)
