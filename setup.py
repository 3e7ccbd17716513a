"""Packaging: `pip install .` installs the `mirex` command together with the weights."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(path: str) -> list[str]:
    """Read the lines of a requirements file, without comments."""
    lines = [line.partition("#")[0].strip() for line in (HERE / path).read_text("utf-8").splitlines()]
    return [line for line in lines if line]


def version() -> str:
    """Read the package's version without importing it."""
    match = re.search(r'__version__ = "(.+?)"', (HERE / "mirex/__init__.py").read_text("utf-8"))
    assert match
    return match[1]


setup(
    name="mirex",
    version=version(),
    description="Audio cover song identification for MIREX: ResNet50-IBN on a constant-Q transform",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="AGPL-3.0-or-later",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    install_requires=requirements("mirex/bootstrap/requirements.txt"),
    extras_require={
        "cluster": ["dask>=2024.1", "distributed>=2024.1"],
        "faiss": ["faiss-cpu>=1.15.1,<1.16"],
        "fast": ["openvino>=2026.0,<2027"],
        "export": ["onnx>=1.17", "onnxscript>=0.5"],
        "parquet": ["pyarrow>=14"],
        "plots": ["matplotlib>=3.8"],
        "docs": ["pdoc>=15", "typst>=0.13"],
        "train": ["mido>=1.3", "numba>=0.60"],
        "test": requirements("tests/requirements.txt"),
    },
    packages=[*find_packages(include=["mirex", "mirex.*"]), "mirex.shipped_weights", "mirex.shipped_demo"],
    package_dir={"mirex.shipped_weights": "weights", "mirex.shipped_demo": "tests/demo"},
    package_data={
        "mirex": ["py.typed"],
        "mirex.bootstrap": ["*.sh", "*.txt"],
        "mirex.corpora": ["*.md"],
        "mirex.evaluation": ["*.html"],
        "mirex.retrieval": ["*.html"],
        "mirex.shipped_demo": ["*.ogg", "*.txt", "README.md"],
        "mirex.shipped_weights": ["*.safetensors", "README.md"],
    },
    entry_points={"console_scripts": ["mirex = mirex.cli:main"]},
)
