"""Weights files of metadata only, and commands as parsed: for tests that find embeddings in the store."""

import argparse
import json

from mirex.model.weights import metadata_hash
from mirex.retrieval.calibration import Calibration
from mirex.settings import FrontEndSettings, NetworkSettings

CALIBRATION = Calibration(knee=0.4, level=0.0, below=-10.0, above=-12.0, data="example pairs", pairs=5000)
FINGERPRINT = "0123456789abcdef"


def seal_without_tensors(path, *, calibration=CALIBRATION, fingerprint=FINGERPRINT):
    """A weights file of metadata only: enough for everything that finds its embeddings in the store."""
    metadata = {
        "format": "mirex-weights-2",
        "front_end": FrontEndSettings().to_json(),
        "front_end_fingerprint": FrontEndSettings().fingerprint(),
        "network": NetworkSettings().to_json(),
        "network_fingerprint": NetworkSettings().fingerprint(),
        "content_sha256": fingerprint.ljust(64, "0"),
    }
    if calibration:
        metadata["calibration"] = calibration.to_json()
    metadata["metadata_sha256"] = metadata_hash(metadata)
    header = json.dumps({"__metadata__": metadata}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def parse(module, arguments):
    """The arguments of one command, parsed by its own parser."""
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    return parser.parse_args([str(argument) for argument in arguments])
