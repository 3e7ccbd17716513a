"""The image copies what the scripts need, in steps that tests/container/bare_root.sh can run too."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
APPTAINER = (ROOT / "apptainer.def").read_text("utf-8")


def copies() -> list[tuple[str, str]]:
    """Source and target of everything that the Dockerfile copies."""
    pairs = []
    for *sources, target in (line.split()[1:] for line in re.findall(r"^COPY .*", DOCKERFILE, re.MULTILINE)):
        pairs += [(source, target + source if target.endswith("/") else target) for source in sources]
    return pairs


def test_everything_copied_exists_and_is_in_the_context():
    context = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert len(copies()) >= 6
    for source, _ in copies():
        assert (ROOT / source).exists()
        assert f"!{source}" in context


def test_both_images_hold_the_same():
    (files,) = re.findall(r"^%files\n((?: +\S+ \S+\n)+)", APPTAINER, re.MULTILINE)
    assert sorted(tuple(line.split()) for line in files.splitlines()) == sorted(copies())
    base = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^From: (\S+)", APPTAINER, re.MULTILINE) == base


def test_steps_stand_on_one_line_and_the_user_is_not_root():
    steps = re.findall(r"^RUN .*", DOCKERFILE, re.MULTILINE)
    assert steps
    assert not any(step.endswith("\\") for step in steps)
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] != "root"
