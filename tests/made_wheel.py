"""A wheel made by code, for tests of set-up: pip finds it in a folder, and nowhere else."""

import base64
import hashlib
import zipfile
from pathlib import Path


def make_wheel(folder: Path) -> None:
    folder.mkdir()
    info = "mirex_test_package-1.0.dist-info"
    files = {
        "mirex_test_package.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: mirex-test-package\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "mirex_test_package-1.0-py3-none-any.whl", "w") as wheel:
        record = ""
        for name, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
