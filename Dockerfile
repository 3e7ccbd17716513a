# The submission in one image: both scripts, the weights, and an environment that needs no network when it runs.
#
#   docker build -t mirex .
#   docker run --rm --network none -v /music:/music:ro -v /lists:/lists:ro -v /scratch:/scratch -v /results:/results \
#       --user "$(id -u):$(id -g)" mirex run_query.sh /lists/collection.txt /lists/queries.txt /scratch /results/mirex.txt
#
# PyTorch comes from pip's default index, whose builds for x86-64 include CUDA: the image runs on a CPU or, with
# `--gpus all`, on a GPU. --build-arg PYTORCH_INDEX=<address of PyTorch's index of CPU builds> makes it several GB
# smaller, for CPUs only; the index of another CUDA version works too.
# tests/container/bare_root.sh runs the RUN lines in a bare root file system: keep each of them on one line.

FROM python:3.11.13-slim-bookworm

ARG PYTORCH_INDEX=
ENV PIP_EXTRA_INDEX_URL=$PYTORCH_INDEX

COPY mirex /opt/mirex/mirex
COPY weights /opt/mirex/weights
COPY tests/demo /opt/mirex/tests/demo
COPY README.md LICENSE run_extract.sh run_query.sh /opt/mirex/

RUN /opt/mirex/run_query.sh --help > /dev/null && rm -rf ~/.cache
RUN useradd --create-home --uid 1000 mirex && ln -s /opt/mirex/run_extract.sh /opt/mirex/run_query.sh /usr/local/bin/

USER mirex
CMD ["run_query.sh", "--help"]
