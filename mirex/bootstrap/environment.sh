# What the scripts share: sourced, with $here the checkout. Finds a Python, lets environment.py choose
# or build the environment, and runs the checkout's own code in it.

# Only Python 3.11 or newer knows -P: do not import from the current directory.
is_python() {
    "$1" -P -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1
}

find_python() {
    if [ -n "${MIREX_PYTHON:-}" ]; then
        is_python "$MIREX_PYTHON" && printf '%s\n' "$MIREX_PYTHON" && return
        echo "mirex: error: MIREX_PYTHON=$MIREX_PYTHON is no Python 3.11 or newer" >&2
        return 1
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 "$here/.venv/bin/python"; do
        is_python "$candidate" && printf '%s\n' "$candidate" && return
    done
    echo "mirex: error: no Python 3.11 or newer on the PATH; install one, or name it in MIREX_PYTHON" >&2
    return 1
}

# environment_python [folder with more requirements]: print the interpreter that has everything.
environment_python() {
    python=$(find_python) || return 1
    "$python" -P -B "$here/mirex/bootstrap/environment.py" "$@" </dev/null
}

# run_mirex <script's name> <command> [arguments]: replaces the shell.
run_mirex() {
    MIREX_PROGRAM=$1
    shift
    python=$(environment_python) || exit 1
    PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
    export MIREX_PROGRAM PYTHONPATH PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1
    exec "$python" -P -m mirex "$@" </dev/null
}
