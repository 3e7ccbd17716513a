#!/bin/sh
# Compute the embeddings of audio files in a scratch folder:
#   run_extract.sh [-numThreads N] [--device auto|cpu|cuda] [options] <scratch_folder> <file_list>
# --help shows all options. Exit status: 0 complete, 1 failed, 2 usage error.
set -eu

self=$0 # through symbolic links to the checkout
while [ -L "$self" ]; do
    target=$(readlink -- "$self")
    case $target in /*) self=$target ;; *) self=$(dirname -- "$self")/$target ;; esac
done
here=$(CDPATH='' cd -P -- "$(dirname -- "$self")" && pwd)

. "$here/mirex/bootstrap/environment.sh"
run_mirex run_extract.sh extract "$@"
