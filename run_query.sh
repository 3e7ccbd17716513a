#!/bin/sh
# Write the distance matrix of a collection and a query list; first extract what the working directory lacks:
#   run_query.sh [-numThreads N] [--device auto|cpu|cuda] [options] \
#       <collection_list> <query_list> <working_directory> <output_file>
# --help shows all options. Exit status: 0 complete, 1 failed, 2 usage error.
set -eu

self=$0 # through symbolic links to the checkout
while [ -L "$self" ]; do
    target=$(readlink -- "$self")
    case $target in /*) self=$target ;; *) self=$(dirname -- "$self")/$target ;; esac
done
here=$(CDPATH='' cd -P -- "$(dirname -- "$self")" && pwd)

. "$here/mirex/bootstrap/environment.sh"
run_mirex run_query.sh query "$@"
