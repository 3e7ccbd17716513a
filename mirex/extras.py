"""Optional packages: if one is missing, say how to install it before any work is done."""

from collections.abc import Sequence
from importlib.util import find_spec

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
        raise MirexError(
            f"{', '.join(missing)}: not installed; install it with: pip install 'mirex[{extra}]'"
        )
