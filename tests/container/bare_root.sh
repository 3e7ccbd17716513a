#!/bin/sh
# Run the Dockerfile's steps in a bare root file system, where no container engine is at hand:
#
#   tests/container/bare_root.sh FOLDER
#
# needs root, debootstrap, unshare and a network for its first part. In FOLDER it makes Debian's smallest system with
# Python, and a folder of wheels; then, without a network, it copies what the Dockerfile copies, runs its RUN lines, and
# runs both scripts on the demo as the unprivileged user, with read-only lists and audio as an evaluator would mount them.
# The last line says whether the matrix is as the organisers' strict readers want it.
set -eu

folder=$(mkdir -p "$1" && CDPATH='' cd -P -- "$1" && pwd)
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")/../.." && pwd)
root=$folder/root

[ -x "$root/usr/bin/python3" ] || debootstrap --variant=minbase --include=python3,python3-venv bookworm "$root"
python3 -m pip download -q -d "$folder/wheels" -r "$here/mirex/bootstrap/requirements.txt" \
    -c "$here/mirex/bootstrap/constraints.txt"

rm -rf "$root/opt/mirex" "$root/data" && mkdir -p "$root/opt/mirex" "$root/wheels" "$root/data/scratch"
sed -n 's/^COPY //p' "$here/Dockerfile" | while read -r line; do
    target=${line##* }
    for source in ${line% *}; do
        case $target in */) cp -R "$here/$source" "$root$target" ;; *) mkdir -p "$root${target%/*}" && cp -R "$here/$source" "$root$target" ;; esac
    done
done
cp "$folder"/wheels/* "$root/wheels/"
cp -R "$here/tests/demo" "$root/data/music"

# in_root USER COMMAND: in the root file system, with its own /proc and /dev, and no network.
in_root() {
    user=$1
    shift
    unshare --net --mount --pid --fork sh -c '
        root=$1 user=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        exec chroot --userspec="$user" "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp \
            PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels sh -c "$*"
    ' sh "$root" "$user" "$@"
}

id=$(sed -n 's/.*--uid \([0-9]*\).*/\1/p' "$here/Dockerfile")
chroot "$root" userdel mirex 2>/dev/null || true
rm -f "$root/usr/local/bin/run_extract.sh" "$root/usr/local/bin/run_query.sh"
sed -n 's/^RUN //p' "$here/Dockerfile" | while read -r step; do
    in_root root "$step"
done
chown -R "$id" "$root/data/scratch"
in_root "$id" "cd /data/music && run_extract.sh -numThreads 2 /data/scratch collection.txt"
in_root "$id" "cd /data/music && run_query.sh -numThreads 2 collection.txt queries.txt /data/scratch /data/scratch/matrix.txt"
in_root "$id" "cd /opt/mirex && PYTHONPATH=. .venv/bin/python -B -m mirex check /data/scratch/matrix.txt"
