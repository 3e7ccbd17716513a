"""The report: whole, escaped, offline; worst cases against loops; opened in headless Chromium."""

import argparse
import html.parser
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from mirex.commands import report as report_command
from mirex.errors import MirexError
from mirex.evaluation import failures
from mirex.evaluation.evaluate import evaluate
from mirex.evaluation.hubness import hubness, hubness_facts
from mirex.formats.matrix import Matrix, write_matrix

pytest.importorskip("matplotlib")

from mirex.evaluation.report import Links, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--hide-scrollbars",
]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on the PATH")

TRICKY = "<b>&\"'$title é\udcff.wav"


def make_problem(rng, *, folder="/nowhere", cliques=8, versions=3):
    labels = np.repeat(np.arange(cliques), versions)
    names = [f"{folder}/{i:02d}.wav" for i in range(len(labels))]
    names[1] = f"{folder}/{TRICKY}"
    points = rng.normal(size=(cliques, 4))[labels] + 0.8 * rng.normal(size=(len(labels), 4))
    distances = np.linalg.norm(points[:, None] - points, axis=2).astype(np.float32)
    matrix = Matrix("<system> & $more", tuple(names), np.arange(len(names)), distances)
    return matrix, {name: f"work <{label}>" for name, label in zip(names, labels, strict=True)}


def make_columns(path):
    """Columns of a made-up recording, the same for the same path."""
    return np.random.default_rng(len(str(path))).random((84, 60)).astype(np.float32)


def make_page(path, matrix, labels, **options):
    evaluation = evaluate(matrix, cliques=labels)
    generator = np.random.default_rng(0)
    write_report(path, matrix=matrix, evaluation=evaluation, generator=generator, **options)
    return path.read_text(encoding="utf-8")


class Checker(html.parser.HTMLParser):
    """Every element closed in order, no id twice; collects the addresses and the text."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        attributes = dict(attributes)
        self.addresses += [attributes[name] for name in ("href", "src") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_page_is_whole_and_escaped(tmp_path, rng):
    matrix, cliques = make_problem(rng)
    checker = check(make_page(tmp_path / "r.html", matrix, cliques, columns_of=make_columns, misses=1))
    text = " ".join(checker.text)
    assert "<system> & $more" in text
    assert "work <0>" in text
    assert "<b>&\"'$title é\ufffd.wav" in text
    assert len(checker.ids) == len(set(checker.ids))


def test_page_says_how_near_unrelated_recordings_are(tmp_path, rng):
    matrix, cliques = make_problem(rng)
    text = " ".join(check(make_page(tmp_path / "r.html", matrix, cliques, misses=0)).text)
    labels = evaluate(matrix, cliques=cliques).labels.numbers
    for name, words in hubness_facts(hubness(matrix, labels=labels)):
        assert name in text
        assert words.split(", ")[0].split(" (")[0] in text


def test_page_refers_to_nothing_but_recordings(tmp_path, rng):
    matrix, cliques = make_problem(rng)
    page = make_page(tmp_path / "r.html", matrix, cliques, columns_of=make_columns, misses=1)
    addresses = check(page).addresses
    assert all(address.startswith(("data:", "file:", "./", "#")) for address in addresses)
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)


def test_same_input_same_bytes(tmp_path, rng):
    matrix, cliques = make_problem(rng)
    pages = [
        make_page(tmp_path / f"{i}.html", matrix, cliques, columns_of=make_columns, misses=1) for i in (1, 2)
    ]
    assert pages[0] == pages[1]


def test_recordings_that_cannot_be_decoded_leave_a_note(tmp_path, rng):
    matrix, cliques = make_problem(rng)
    page = make_page(tmp_path / "r.html", matrix, cliques)
    assert page.count('<div class="empty">no picture: ') > 2
    assert "missing when the page was made" in page
    assert "<img" not in page


def test_counts_of_what_is_shown(tmp_path, rng):
    matrix, cliques = make_problem(rng)
    page = make_page(tmp_path / "r.html", matrix, cliques, cliques=3, misses=0)
    assert page.count("<details") == 3
    assert "No misses to show" in page


def test_no_misses_where_everything_is_found(tmp_path):
    distances = np.array([[0, 1, 5], [1, 0, 5], [5, 5, 0]], dtype=np.float32)
    matrix = Matrix("s", ("/a", "/b", "/c"), np.arange(3), distances)
    page = make_page(tmp_path / "r.html", matrix, {"/a": "1", "/b": "1"})
    assert "No misses to show" in page


def test_collection_of_one_clique(tmp_path):
    matrix = Matrix("s", ("/a", "/b"), np.arange(2), np.array([[0, 1], [1, 0]], dtype=np.float32))
    check(make_page(tmp_path / "r.html", matrix, {"/a": "1", "/b": "1"}))


def test_page_that_cannot_be_written(tmp_path, rng):
    matrix, cliques = make_problem(rng)
    with pytest.raises(MirexError, match="html cannot be written|folder cannot be written"):
        make_page(tmp_path / "none" / "r.html", matrix, cliques, misses=0)
    (tmp_path / "folder").mkdir()
    with pytest.raises(MirexError, match="html cannot be written|folder cannot be written"):
        make_page(tmp_path / "folder", matrix, cliques, misses=0)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_without_matplotlib_nothing_is_written(tmp_path, rng, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    matrix, cliques = make_problem(rng)
    with pytest.raises(MirexError, match=r"pip install .*\[plots\]"):
        make_page(tmp_path / "r.html", matrix, cliques)
    assert list(tmp_path.iterdir()) == []


# Links


def test_addresses(tmp_path):
    links = Links(["a b/ü#?.wav"], page_folder=tmp_path / "pages", audio_root=tmp_path)
    assert links.address("/x y/ü#?.wav") == "file:///x%20y/%C3%BC%23%3F.wav"
    assert links.address("a b/ü#?.wav") == "./../a%20b/%C3%BC%23%3F.wav"
    assert links.address("/\udcff.wav") == "file:///%FF.wav"


def test_short_names_are_unambiguous(tmp_path):
    links = Links(["/a/x.wav", "/b/x.wav", "/b/y.wav"], page_folder=tmp_path, audio_root=tmp_path)
    assert [links.short(name) for name in ("/a/x.wav", "/b/x.wav", "/b/y.wav")] == [
        "a/x.wav",
        "b/x.wav",
        "y.wav",
    ]


# Worst cases


def test_query_cases_by_hand():
    distances = np.array([[0, 5, 1, 2], [5, 0, 3, 1], [1, 3, 0, 2], [1, 1, 1, 0]], dtype=np.float32)
    matrix = Matrix("s", ("a1", "a2", "b1", "b2"), np.arange(4), distances)
    evaluation = evaluate(matrix, cliques={"a1": "a", "a2": "a", "b1": "b", "b2": "b"})
    case = failures.query_case(matrix, evaluation, index=0)
    assert (case.query, case.cover, case.rank, case.cover_distance) == (0, 1, 3, 5.0)
    assert (case.other, case.other_distance) == (2, 1.0)
    # a1 and a2 both rank their cover third; only the first of a clique is taken.
    found = failures.worst_queries(matrix, evaluation, count=5)
    assert [case.query for case in found] == [0, 3]
    assert [case.clique for case in failures.worst_cliques(matrix, evaluation, count=5)] == [0, 1]


def test_distance_histogram_counts_every_pair_once(rng):
    matrix, cliques = make_problem(rng)
    found = failures.distance_histogram(matrix, evaluate(matrix, cliques=cliques), bins=10)
    assert found.covers.sum() == 24 * 2
    assert found.others.sum() == 24 * 21
    labels = np.repeat(np.arange(8), 3)
    same = (labels[:, None] == labels) & ~np.eye(24, dtype=bool)
    clipped = np.clip(matrix.distances[same], found.edges[0], found.edges[-1])
    np.testing.assert_array_equal(found.covers, np.histogram(clipped, bins=found.edges)[0])


def test_one_far_value_does_not_squeeze_the_histogram(rng):
    matrix, cliques = make_problem(rng, cliques=200)
    matrix.distances[0, 5] = 1e9
    assert failures.distance_histogram(matrix, evaluate(matrix, cliques=cliques)).edges[-1] < 100


# In the browser


def chromium(page, tmp_path, *flags):
    """Open a page; returns stdout and the console's lines."""
    profile = tmp_path / "profile"
    command = [CHROMIUM, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def real_page(tmp_path_factory):
    """A page that the command made, beside real recordings, which the matrix names by relative paths."""
    tmp_path = tmp_path_factory.mktemp("page")
    matrix, cliques = make_problem(np.random.default_rng(4), folder="audio", cliques=3)
    (tmp_path / "audio").mkdir()
    time = np.arange(3 * 22050) / 22050
    for index, name in enumerate(matrix.names):
        tone = 0.3 * np.sin(2 * np.pi * 220 * 2 ** (index / 12) * time)
        if "\udcff" not in name:
            soundfile.write(tmp_path / name, tone, 22050)
    write_matrix(
        tmp_path / "matrix.txt",
        names=matrix.names,
        query_positions=matrix.query_positions,
        rows=matrix.distances,
    )
    (tmp_path / "cliques.tsv").write_text(
        "".join(f"{name}\t{clique}\n" for name, clique in cliques.items()), errors="surrogateescape"
    )
    parser = argparse.ArgumentParser()
    report_command.add_parser(parser.add_subparsers())
    page = tmp_path / "report.html"
    arguments = [
        "report",
        tmp_path / "matrix.txt",
        tmp_path / "cliques.tsv",
        "-o",
        page,
        "--audio-root",
        tmp_path,
    ]
    assert report_command.run(parser.parse_args([str(argument) for argument in arguments])) == 0
    return page


def test_command_draws_the_misses(real_page):
    page = real_page.read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png') >= 2
    assert 'href="./audio/00.wav"' in page


@needs_chromium
def test_page_opens_in_a_browser_without_console_errors(real_page, tmp_path):
    picture = tmp_path / "page.png"
    _, console = chromium(real_page, tmp_path, f"--screenshot={picture}", "--window-size=1200,2400")
    assert console == []
    assert picture.stat().st_size > 50_000


@needs_chromium
def test_recordings_play_in_a_browser(real_page, tmp_path):
    script = """<script>
    document.querySelector("#player audio").addEventListener("playing", function () {
      document.title = "played " + Math.round(this.duration) + " seconds of " + decodeURI(this.src); });
    document.querySelector("details a.play").click();
    </script></body>"""
    page = real_page.with_name("playing.html")
    page.write_text(real_page.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    flags = ("--dump-dom", "--autoplay-policy=no-user-gesture-required", "--timeout=5000", "--mute-audio")
    content, console = chromium(page, tmp_path, *flags)
    assert console == []
    assert re.search(r"<title>played 3 seconds of file:///.*/audio/\d\d\.wav</title>", content)
