"""The licences of the packages that this one needs, as they state them.

Standard library only, so that it runs in any environment:

    .venv/bin/python mirex/bootstrap/licences.py

prints one line per pinned package: name, version, licence.
"""

import importlib.metadata
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent / "constraints.txt"


def pinned(path: Path = CONSTRAINTS) -> list[str]:
    """List the packages that a constraints file pins, in its order.

    Parameters
    ----------
    path : Path
        Lines of the form name==version; comments are left out.

    Returns
    -------
    list of str
    """
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line.partition("==")[0] for line in lines if line]


def licence(name: str) -> tuple[str, str]:
    """Look up version and licence of an installed package.

    Parameters
    ----------
    name : str
        Name of the package.

    Returns
    -------
    version, licence : str
        "not installed" and an empty text if it is missing; "not stated" if it names no licence.
    """
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed", ""
    classifiers = metadata.get_all("Classifier") or []
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    text = metadata["License-Expression"] or "; ".join(named) or (metadata["License"] or "").split("\n")[0]
    return metadata["Version"], text or "not stated"


def main() -> int:
    """Print the table.

    Returns
    -------
    int
        Exit status, always 0.
    """
    for name in pinned():
        print("\t".join((name, *licence(name))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
