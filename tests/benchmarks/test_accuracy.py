"""Figures of the accuracy benchmark on tiny sets, and its command."""

import dataclasses
import json

import numpy as np
import pytest

from made_corpus import write_chroma
from mirex.benchmarks import accuracy
from mirex.benchmarks.accuracy import Drawing
from mirex.cli import main
from mirex.corpora.clips import Clip
from mirex.errors import EvaluationError
from mirex.model.embedding import embed
from mirex.settings import FrontEndSettings, NetworkSettings
from random_network import save_random
from synthesis import song, write

FEW = Drawing(resamples=50, permutations=50)


class Given:
    """A system whose distances are those of numbers, the first value of the columns."""

    def __init__(self, name="given", *, sign=1.0):
        self.name = name
        self._sign = sign

    def describe(self, columns):
        return columns[:1, 0]

    describe_profile = describe

    def compare(self, queries, references, *, progress=None):
        distances = np.abs(np.subtract.outer(np.concatenate(queries), np.concatenate(references)))
        return (self._sign * distances).astype(np.float32)


def clips(values, works):
    return [
        Clip(f"{work}{index}", work, np.full((84, 3), value, np.float32))
        for index, (value, work) in enumerate(zip(values, works, strict=True))
    ]


class TestTabulate:
    # a: covers at 0 and 2, b between them, c far off and alone
    few = clips([0.0, 2.0, 1.0, 1.25, 9.0], "aabbc")

    def test_by_hand(self):
        timed = accuracy.compare_all(self.few, system=Given())
        table = accuracy.tabulate("tiny", [timed], clips=self.few, drawing=FEW)
        assert (table.recordings, table.queries, table.cliques) == (5, 4, 2)
        (row,) = table.rows
        # ranks of the only cover: third for both of a, first for both of b
        assert row.figures["map"].value == pytest.approx((1 / 3 + 1 / 3 + 1 + 1) / 4)
        assert row.figures["mr1"].value == pytest.approx(2.0)
        assert row.figures["rank_1"].value == pytest.approx(0.5)
        assert row.lead is None
        assert row.figures["map"].low == pytest.approx(1 / 3)
        assert row.figures["map"].high == pytest.approx(1.0)

    def test_lead_is_the_difference_to_the_first(self):
        results = [
            accuracy.compare_all(self.few, system=system) for system in (Given(), Given("reversed", sign=-1))
        ]
        first, second = accuracy.tabulate("tiny", results, clips=self.few, drawing=FEW).rows
        assert second.lead is not None
        for name in accuracy.FIGURES:
            expected = first.figures[name].value - second.figures[name].value
            assert second.lead[name].difference == pytest.approx(expected)

    def test_without_versions(self):
        alone = clips([1.0, 2.0], "ab")
        timed = accuracy.compare_all(alone, system=Given())
        with pytest.raises(EvaluationError, match="none of the 2 queries"):
            accuracy.tabulate("alone", [timed], clips=alone)

    def test_only(self):
        timed = accuracy.compare_all(self.few, system=Given())
        kept = accuracy.only(timed, np.array([1, 1, 0, 0, 1], bool))
        assert kept.matrix.names == ("a0", "a1", "c4")
        assert kept.matrix.distances.tolist() == [[0, 2, 9], [2, 0, 7], [9, 7, 0]]
        assert accuracy.tabulate("a", [kept], clips=self.few, drawing=FEW).rows[0].figures["map"].value == 1

    def test_text_and_json_show_the_same(self):
        results = [accuracy.compare_all(self.few, system=Given(name)) for name in ("one", "two")]
        table = accuracy.tabulate("tiny", results, clips=self.few, drawing=FEW)
        lines = accuracy.table_text(table).splitlines()
        assert lines[0] == "tiny: 5 recordings; 4 queries of 2 cliques"
        assert lines[2].split()[:2] == ["one", "0.667"]
        assert "p =" not in lines[2]
        assert lines[3].split()[:2] == ["two", "0.667"]
        assert "+0.000 (+0.000 to +0.000), p = 1.0000" in lines[3]
        plain = json.loads(json.dumps(accuracy.table_json(table)))
        assert [row["system"] for row in plain["rows"]] == ["one", "two"]
        assert plain["rows"][0]["figures"]["map"]["value"] == pytest.approx(2 / 3)
        assert plain["rows"][0]["lead"] is None


@pytest.fixture(scope="module")
def sealed():
    import torch

    from mirex.model.network import TwoViewNetwork
    from mirex.model.weights import Sealed

    network = TwoViewNetwork(generator=torch.Generator().manual_seed(0)).eval()
    return Sealed(network, FrontEndSettings(), NetworkSettings(chroma_weight=0.5), {}, "none")


class TestView:
    def test_both_views_are_the_weighted_sum_of_each(self, sealed, rng):
        columns = rng.random((84, 40)).astype(np.float32)
        both, cqt, chroma = (
            accuracy.view(sealed, name=name).describe(columns).astype(float) for name in accuracy.VIEWS
        )
        expected = cqt + 0.5 * chroma
        np.testing.assert_allclose(both, expected / np.linalg.norm(expected), atol=1e-6)
        np.testing.assert_allclose(accuracy.Embedding(sealed).describe(columns), both, atol=1e-6)

    def test_chroma_view_does_not_see_the_octave(self, sealed, rng):
        columns = np.zeros((84, 40), np.float32)
        columns[rng.integers(12, 36, 40), np.arange(40)] = 1.0
        chroma = accuracy.view(sealed, name="chroma view")
        np.testing.assert_allclose(
            chroma.describe(np.roll(columns, 12, axis=0)), chroma.describe(columns), atol=1e-6
        )

    def test_a_profile_is_the_chroma_view(self, sealed, rng):
        """One tone at a time is its own profile, so both ways to the chroma view are the same."""
        tones = np.repeat(rng.integers(24, 60, 20), 2)
        columns = np.zeros((84, 40), np.float32)
        columns[tones, np.arange(40)] = 1.0
        profile = np.eye(12, dtype=np.float32)[:, tones[::2] % 12]
        chroma = accuracy.view(sealed, name="chroma view")
        np.testing.assert_allclose(chroma.describe_profile(profile), chroma.describe(columns), atol=1e-6)

    def test_played_once(self, sealed, rng):
        columns = rng.random((84, 40)).astype(np.float32)
        once = accuracy.played_once(sealed)
        settings = dataclasses.replace(sealed.settings, second_longer=0)
        expected = embed([columns], sealed=sealed._replace(settings=settings))[0]
        np.testing.assert_array_equal(once.describe(columns), expected)
        assert not np.allclose(accuracy.Embedding(sealed).describe(columns), expected, atol=1e-4)

    def test_both_views_of_weights_sealed_with_one(self, sealed):
        single = sealed._replace(settings=dataclasses.replace(sealed.settings, chroma_weight=0.0))
        assert accuracy.view(single, name="both views")._sealed.settings.chroma_weight == 1.0


class TestCommand:
    @pytest.fixture
    def demo(self, tmp_path):
        for name, number, key in (("x.wav", 0, 0), ("x_fast.wav", 0, 3), ("y.wav", 1, 0), ("z.wav", 2, 0)):
            write(tmp_path / name, song(number, seconds=8, transpose=key))
        (tmp_path / "collection.txt").write_text("x.wav\nx_fast.wav\ny.wav\nz.wav\n")
        return tmp_path

    def run(self, *arguments, systems=("fourier", "qmax")):
        return main(["benchmark-accuracy", *map(str, arguments), "--systems", *systems])

    def test_text_on_stdout_only_the_table(self, demo, capsys):
        assert self.run("demo", "--demo", demo, "--resamples", "20") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "demo: 4 recordings; 2 queries of 1 cliques"
        assert lines[2].startswith("2-D Fourier magnitude")
        assert lines[3].startswith("Qmax")

    def test_json(self, demo, capsys):
        assert self.run("demo", "--demo", demo, "--resamples", "20", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["conditions"]["set"] == "demo"
        assert found["tables"][0]["rows"][0]["figures"]["map"]["value"] == 1.0

    def test_saved_matrices_can_be_evaluated(self, demo, tmp_path, capsys):
        assert self.run("demo", "--demo", demo, "--resamples", "20", "--save", tmp_path / "kept") == 0
        kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
        assert kept == ["demo-2-D-Fourier-magnitude.txt", "demo-Qmax.txt", "demo-cliques.tsv"]
        capsys.readouterr()
        matrix, cliques = tmp_path / "kept" / "demo-Qmax.txt", tmp_path / "kept" / "demo-cliques.tsv"
        assert main(["evaluate", str(matrix), str(cliques), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["anthems"], "--corpus"),
            (["scores", "--corpus", "x"], "--soundfont"),
            (["robustness", "--works", "2", "--corpus", "x"], "--soundfont"),
            (["demo", "--qmax-columns", "0"], "--qmax-columns"),
            (["covers"], "--corpus"),
        ],
    )
    def test_wrong_usage(self, arguments, message, capsys):
        assert self.run(*arguments) == 2
        assert message in capsys.readouterr().err

    def test_covers(self, tmp_path, capsys):
        write_chroma(tmp_path / "hpcp.npz", versions=5)
        assert self.run("covers", "--corpus", tmp_path, "--resamples", "20", "--json") == 0
        (table,) = json.loads(capsys.readouterr().out)["tables"]
        assert (table["recordings"], table["cliques"]) == (8, 2)
        names = [row["system"] for row in table["rows"]]
        assert names == ["2-D Fourier magnitude", "Qmax, 2 columns a frame"]
        # Versions of the made corpus differ in key only.
        assert [row["figures"]["map"]["value"] for row in table["rows"]] == [1.0, 1.0]

    def test_ours_is_the_chroma_view_of_covers(self, tmp_path, capsys):
        write_chroma(tmp_path / "hpcp.npz")
        save_random(tmp_path / "random.safetensors")
        given = ["--corpus", tmp_path, "--works", "1", "--weights", tmp_path / "random.safetensors", "--json"]
        assert self.run("covers", *given, systems=["ours", "played-once"]) == 0
        (table,) = json.loads(capsys.readouterr().out)["tables"]
        assert table["cliques"] == 1
        assert [row["system"] for row in table["rows"]] == ["mirex, chroma view", "mirex, played once"]

    def test_covers_have_no_cqt_view(self, tmp_path, capsys):
        assert self.run("covers", "--corpus", tmp_path, systems=["both-views"]) == 2
        assert "no CQT view" in capsys.readouterr().err

    def test_anthems_have_a_table_of_the_confirmed_and_of_the_longer_ones(self, tmp_path, rng, capsys):
        columns = [140, 140, 140, 140, 100, 140]  # of 0.232 s: all but one are 32 s long
        np.savez(
            tmp_path / "anthems.npz",
            level=rng.integers(0, 240, (sum(columns), 84)).astype(np.uint8),
            recording_offset=np.cumsum([0, *columns]).astype(np.uint32),
            clique=np.frombuffer(b"ad\nad\nfr\nfr\nfr\nfr", np.uint8),
            name=np.frombuffer(b"a\nb\nc\nd\ne\nf", np.uint8),
            confirmed=np.array([1, 1, 1, 1, 1, 0], np.uint8),
        )
        assert self.run("anthems", "--corpus", tmp_path, "--json", systems=["fourier"]) == 0
        tables = json.loads(capsys.readouterr().out)["tables"]
        assert {table["title"]: table["recordings"] for table in tables} == {
            "anthems": 6,
            "anthems, confirmed": 5,
            "anthems, confirmed, 30 s or longer": 4,
        }

    def test_missing_archive(self, tmp_path, capsys):
        assert self.run("anthems", "--corpus", tmp_path) == 1
        assert "anthems.npz" in capsys.readouterr().err
