# Shared by the scripts, which source it with $here set to the checkout. Finds a Python, lets environment.py
# choose or build the environment, and runs the checkout's own code in it.

# The user's Python settings must not affect ours: with PYTHONPATH, for example, another package could be imported.
user_path=${PYTHONPATH:-}
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONINSPECT PYTHONOPTIMIZE PYTHONDEBUG PYTHONVERBOSE
unset PYTHONUSERBASE PYTHONPLATLIBDIR PYTHONCASEOK PYTHONBREAKPOINT PYTHONDEVMODE PYTHONIOENCODING PYTHONEXECUTABLE
unset PYTHONTRACEMALLOC PYTHONPROFILEIMPORTTIME PYTHONFAULTHANDLER PYTHONMALLOC PYTHONMALLOCSTATS PYTHONDUMPREFS
unset PYTHONSAFEPATH PYTHONPYCACHEPREFIX PYTHONUNBUFFERED PYTHONASYNCIODEBUG PYTHONINTMAXSTRDIGITS PYTHONHASHSEED
unset PYTHONCOERCECLOCALE PYTHONNODEBUGRANGES

# Only Python 3.11 or newer knows -P: do not import from the current directory.
is_python() {
    [ "$("$1" -P -c 'import sys; print(sys.version_info >= (3, 11))' </dev/null 2>/dev/null)" = True ]
}

find_python() {
    if [ -n "${MIREX_PYTHON:-}" ]; then
        is_python "$MIREX_PYTHON" && printf '%s\n' "$MIREX_PYTHON" && return
        why="is not Python 3.11 or newer"
        case $MIREX_PYTHON in
            */*)
                if [ -L "$MIREX_PYTHON" ] && [ ! -e "$MIREX_PYTHON" ]; then
                    why="is a link to a file that does not exist, or that this user may not reach"
                elif [ ! -e "$MIREX_PYTHON" ]; then why="does not exist"
                elif [ -d "$MIREX_PYTHON" ]; then why="is a folder; give the interpreter in it, bin/python"
                elif [ ! -x "$MIREX_PYTHON" ]; then why="is not executable; make it so (chmod +x) or give another interpreter"
                fi ;;
            *) command -v "$MIREX_PYTHON" >/dev/null || why="is not on the PATH" ;;
        esac
        echo "mirex: error: MIREX_PYTHON=$MIREX_PYTHON $why" >&2
        return 1
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 "$here/.venv/bin/python"; do
        is_python "$candidate" && printf '%s\n' "$candidate" && return
    done
    echo "mirex: error: no Python 3.11 or newer on the PATH; install one, or set MIREX_PYTHON to one" >&2
    return 1
}

# environment_python [folder with more requirements]: print the interpreter that has all requirements; if it
# needs the user's PYTHONPATH for that, print PYTHONPATH on a second line.
environment_python() {
    python=$(find_python) || return 1
    MIREX_USER_PYTHONPATH=$user_path "$python" -P -B "$here/mirex/bootstrap/environment.py" "$@" </dev/null
}

# choose_python [folder with more requirements]: set $python to that interpreter, and PYTHONPATH to the checkout.
choose_python() {
    chosen=$(environment_python "$@") || exit 1
    python=${chosen%%
*}
    PYTHONPATH=$here
    [ "$chosen" = "$python" ] || PYTHONPATH=$here:$user_path
    export PYTHONPATH PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1
}

# run_mirex <script's name> <command> [arguments]: run the command in place of the shell.
run_mirex() {
    MIREX_PROGRAM=$1
    shift
    export MIREX_PROGRAM
    choose_python
    exec "$python" -P -m mirex "$@" </dev/null
}
