"""Optional packages: if one is missing, say how to install it before any work is done."""

import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mirex.errors import MirexError


def need(modules: Sequence[str], *, extra: str) -> None:
    """Check that modules can be imported, before any work is done.

    Parameters
    ----------
    modules : sequence of str
        Names to import.
    extra : str
        The extra of this package that installs them.

    Raises
    ------
    MirexError
        If one is missing; the message says how to install it.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MirexError(f"{', '.join(missing)}: not installed; {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """Say how to install an extra for the running Python.

    An index of packages has another project of our name, so pip is given the checkout.

    Parameters
    ----------
    extra : str
        The extra of this package.

    Returns
    -------
    str
        Such as "install it with: /opt/mirex/.venv/bin/python -m pip install '/opt/mirex[fast]'".
    """
    checkout = Path(__file__).parent.parent
    known = (checkout / "setup.py").is_file()
    what = shlex.quote(f"{checkout if known else '.'}[{extra}]")
    command = f"{shlex.quote(sys.executable)} -m pip install {what}"
    return f"install it with: {command}" if known else f"in a checkout of mirex, install it with: {command}"
