"""Make the extended abstract: docs/abstract/abstract.typ to abstract.pdf.

Usage, in the repository's root: pip install '.[docs]' && python docs/abstract/make.py
"""

from pathlib import Path

import typst

HERE = Path(__file__).parent

if __name__ == "__main__":
    typst.compile(HERE / "abstract.typ", output=HERE / "abstract.pdf", root=HERE.parents[1])
