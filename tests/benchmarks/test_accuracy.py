"""Figures of the accuracy benchmark on tiny sets, and its command."""

import dataclasses
import json

import numpy as np
import pytest

from made_corpus import write_chroma
from mirex.benchmarks import accuracy
from mirex.benchmarks.accuracy import Drawing
from mirex.cli import main
from mirex.corpora.archive import save_archive
from mirex.corpora.clips import Clip
from mirex.corpora.cqt_levels import level_arrays
from mirex.errors import EvaluationError
from mirex.model import weights
from mirex.model.embedding import embed
from mirex.settings import FrontEndSettings, NetworkSettings
from random_network import save_random
from synthesis import song, write

FEW = Drawing(resamples=50, permutations=50)


class Given:
    """A system whose distances are those of numbers, the first value of the columns."""

    def __init__(self, name="given", *, sign=1.0):
        self.name = name
        self.settings = {"sign": sign}
        self._sign = sign

    def describe(self, columns):
        return columns[:1, 0]

    describe_profile = describe

    def compare(self, queries, references, *, progress=None):
        distances = np.abs(np.subtract.outer(np.concatenate(queries), np.concatenate(references)))
        return (self._sign * distances).astype(np.float32)


def write_pop(path, rng):
    """recordings.npz with two pairs of versions and five distractors for validation, and one to train on.

    A version has the other's columns, in part; the made recordings are longer than a Fourier patch.
    """
    columns = [(10.0 ** rng.uniform(-3, 0, (84, 90))).astype(np.float32) for _ in range(8)]
    recordings = [columns[0], columns[0][:, :85], columns[1], columns[1][:, 5:], *columns[2:]]
    works = [1, 1, 2, 2, 3, 4, 5, 6, 7, 8]
    splits = ["validation"] * 9 + ["train"]
    names = [f"artist - title {index}" for index in range(10)]
    save_archive(level_arrays(recordings, works=works, splits=splits, names=names), path=path)


def clips(values, works):
    return [
        Clip(f"{work}{index}", work, np.full((84, 3), value, np.float32))
        for index, (value, work) in enumerate(zip(values, works, strict=True))
    ]


class TestTabulate:
    # a: covers at 0 and 2, b between them, c far off and alone
    few = clips([0.0, 2.0, 1.0, 1.25, 9.0], "aabbc")

    def tabulated(self, *systems, chosen=None):
        results = [accuracy.compare_all(self.few, system=system) for system in systems]
        if chosen is not None:
            results = [accuracy.only(result, np.array(chosen, bool)) for result in results]
        measured = [accuracy.measure(result, clips=self.few) for result in results]
        return accuracy.tabulate("tiny", [each for _, each in measured], test_set=measured[0][0], drawing=FEW)

    def test_by_hand(self):
        table = self.tabulated(Given())
        assert (table.recordings, table.queries, table.cliques) == (5, 4, 2)
        (row,) = table.rows
        # ranks of the only cover: third for both of a, first for both of b
        assert row.figures["map"].value == pytest.approx((1 / 3 + 1 / 3 + 1 + 1) / 4)
        assert row.figures["mr1"].value == pytest.approx(2.0)
        assert row.figures["rank_1"].value == pytest.approx(0.5)
        assert row.lead is None
        assert row.figures["map"].low == pytest.approx(1 / 3, abs=1e-6)
        assert row.figures["map"].high == pytest.approx(1.0)

    def test_lead_is_the_difference_to_the_first(self):
        first, second = self.tabulated(Given(), Given("reversed", sign=-1)).rows
        assert second.lead is not None
        for name in accuracy.FIGURES:
            expected = first.figures[name].value - second.figures[name].value
            assert second.lead[name].difference == pytest.approx(expected)

    def test_without_versions(self):
        alone = clips([1.0, 2.0], "ab")
        timed = accuracy.compare_all(alone, system=Given())
        with pytest.raises(EvaluationError, match="none of the 2 queries"):
            accuracy.measure(timed, clips=alone)

    def test_only(self):
        timed = accuracy.compare_all(self.few, system=Given())
        kept = accuracy.only(timed, np.array([1, 1, 0, 0, 1], bool))
        assert kept.matrix.names == ("a0", "a1", "c4")
        assert kept.matrix.distances.tolist() == [[0, 2, 9], [2, 0, 7], [9, 7, 0]]
        table = self.tabulated(Given(), chosen=[1, 1, 0, 0, 1])
        assert table.rows[0].figures["map"].value == 1

    def test_text(self):
        lines = accuracy.table_text(self.tabulated(Given("one"), Given("two"))).splitlines()
        assert lines[0] == "tiny: 5 recordings; 4 queries of 2 cliques"
        assert lines[2].split()[:2] == ["one", "0.667"]
        assert "p =" not in lines[2]
        assert lines[3].split()[:2] == ["two", "0.667"]
        assert "+0.000 (+0.000 to +0.000), p = 1.0000" in lines[3]
        # Of 16 pairs of unrelated recordings, counted both ways, those of b2 and b3 with a1 are no nearer.
        assert lines[4].startswith("unrelated pairs of one: 0 % below 0.2")

    def test_measured_says_which_recordings_are_near_to_all(self):
        _, measured = accuracy.measure(accuracy.compare_all(self.few, system=Given()), clips=self.few)
        assert measured.hubness["unrelated_pairs"] == 16
        assert measured.hubness["k"] == 4


@pytest.fixture(scope="module")
def sealed():
    import torch

    from mirex.model.network import TwoViewNetwork
    from mirex.model.weights import Sealed

    network = TwoViewNetwork(generator=torch.Generator().manual_seed(0)).eval()
    return Sealed(
        network, FrontEndSettings(), NetworkSettings(chroma_weight=0.5, second_longer=1.1), {}, "none"
    )


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
        assert found["made"]["command"] == "mirex benchmark-accuracy demo --systems fourier qmax"
        assert set(found["made"]["versions"]) == {"mirex", "python", "numpy", "scipy", "torch", "essentia"}
        (table,) = found["tables"].values()
        assert table["systems"]["fourier"]["figures"]["map"]["value"] == 1.0
        assert table["systems"]["fourier"]["lead"] is None
        assert table["systems"]["qmax"]["lead"]["map"]["difference"] == 0.0

    def test_results_keep_a_baseline_and_measure_ours_anew(self, demo, tmp_path, capsys, monkeypatch):
        """After a change of the weights only ours is measured; the paired difference is to the kept one."""
        kept = tmp_path / "results.json"
        assert self.run("demo", "--demo", demo, "--json", kept, systems=["qmax"]) == 0
        before = json.loads(kept.read_text())["tables"]["demo"]["systems"]["qmax"]

        def fail(*_, **__):
            raise AssertionError("Qmax is computed although its figures are there")

        monkeypatch.setattr("mirex.benchmarks.baselines.Qmax.compare", fail)
        seen = []
        for seed in (1, 2):
            save_random(tmp_path / "random.safetensors", seed=seed)
            more = ["--weights", tmp_path / "random.safetensors", "--json", kept]
            assert self.run("demo", "--demo", demo, *more, systems=["ours"]) == 0
            systems = json.loads(kept.read_text())["tables"]["demo"]["systems"]
            assert list(systems) == ["ours", "qmax"]
            assert systems["qmax"] == before | {"lead": systems["qmax"]["lead"]}
            assert systems["qmax"]["lead"]["map"]["theirs"] == before["figures"]["map"]["value"]
            seen.append(systems["ours"]["settings"]["weights"])
        assert seen[0] != seen[1]
        assert self.run("demo", "--demo", demo, "--json", kept, systems=["qmax"]) == 0
        assert "demo: Qmax is kept" in capsys.readouterr().err

    def test_results_as_one_table(self, demo, tmp_path, capsys):
        kept = tmp_path / "results.json"
        assert self.run("demo", "--demo", demo, "--json", kept) == 0
        capsys.readouterr()
        assert main(["benchmark-accuracy", "--show", str(kept)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "| set | 2-D Fourier magnitude | Qmax |",
            "|---|---|---|",
            "| demo (2 queries of 4) | 1.000, 1.00, 1.000 | 1.000, 1.00, 1.000 |",
        ]
        assert main(["benchmark-accuracy", "--show", str(tmp_path / "none.json")]) == 2

    def test_figures_are_sealed_into_the_weights_that_they_are_of(self, demo, tmp_path):
        kept, path, other = (tmp_path / name for name in ("r.json", "a.safetensors", "b.safetensors"))
        save_random(path, seed=1)
        save_random(other, seed=2)
        more = ["--weights", path, "--json", kept]
        assert self.run("demo", "--demo", demo, *more, systems=["ours", "fourier"]) == 0
        before = weights.read_metadata(other)
        assert main(["benchmark-accuracy", "--show", str(kept), "--into", str(other)]) == 1
        assert weights.read_metadata(other) == before
        assert main(["benchmark-accuracy", "--show", str(kept), "--into", str(path)]) == 0
        assert main(["benchmark-accuracy", "demo", "--into", str(path)]) == 2
        sealed = json.loads(weights.read_metadata(path)["results"])["demo"]
        assert sealed["2-D Fourier magnitude"] == {"map": 1.0, "mr1": 1.0, "rank_1": 1.0}
        measured = json.loads(kept.read_text())["tables"]["demo"]["systems"]["ours"]["figures"]
        assert sealed["mirex"]["map"] == round(measured["map"]["value"], 4)

    def test_other_recordings_are_measured_anew(self, demo, tmp_path):
        kept = tmp_path / "results.json"
        for _ in range(2):
            assert self.run("demo", "--demo", demo, "--json", kept, systems=["fourier"]) == 0
            found = json.loads(kept.read_text())["tables"]["demo"]
            (demo / "collection.txt").write_text("x.wav\nx_fast.wav\ny.wav\n")
        assert found["recordings"] == 3

    def test_results_of_something_else_stay(self, demo, tmp_path, capsys):
        (tmp_path / "other.json").write_text('{"a": 1}')
        assert self.run("demo", "--demo", demo, "--json", tmp_path / "other.json") == 1
        assert (tmp_path / "other.json").read_text() == '{"a": 1}'

    def test_cuda_that_is_not_there(self, demo, capsys, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert self.run("demo", "--demo", demo, "--device", "cuda", systems=["ours"]) == 2
        assert "no CUDA device" in capsys.readouterr().err

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
            (["pop-among"], "--corpus"),
            (["covers", "--corpus", "x", "--works", "0"], "--works 0"),
            ([], "--all"),
            (["demo", "--all", "--corpus", "x", "--soundfont", "x"], "--all"),
        ],
    )
    def test_wrong_usage(self, arguments, message, capsys):
        assert self.run(*arguments) == 2
        assert message in capsys.readouterr().err

    def test_covers(self, tmp_path, capsys):
        write_chroma(tmp_path / "hpcp.npz", versions=5)
        assert self.run("covers", "--corpus", tmp_path, "--resamples", "20", "--json") == 0
        table = json.loads(capsys.readouterr().out)["tables"]["covers"]
        assert (table["recordings"], table["cliques"]) == (8, 2)
        rows = table["systems"].values()
        assert [row["system"] for row in rows] == ["2-D Fourier magnitude", "Qmax, 2 columns a frame"]
        # Versions of the made corpus differ in key only.
        assert [row["figures"]["map"]["value"] for row in rows] == [1.0, 1.0]

    def test_ours_is_the_chroma_view_of_covers(self, tmp_path, capsys):
        write_chroma(tmp_path / "hpcp.npz")
        save_random(tmp_path / "random.safetensors")
        given = ["--corpus", tmp_path, "--works", "1", "--weights", tmp_path / "random.safetensors", "--json"]
        assert self.run("covers", *given, systems=["ours", "played-once"]) == 0
        table = json.loads(capsys.readouterr().out)["tables"]["covers"]
        assert table["cliques"] == 1
        names = [row["system"] for row in table["systems"].values()]
        assert names == ["mirex, chroma view", "mirex, played once"]

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
        assert {title: table["recordings"] for title, table in tables.items()} == {
            "anthems": 6,
            "anthems, confirmed": 5,
            "anthems, confirmed, 30 s or longer": 4,
        }

    def test_pop_alone_and_among_distractors(self, tmp_path, rng, capsys):
        write_pop(tmp_path / "recordings.npz", rng)
        for name, recordings in (("pop", 4), ("pop-among", 9)):
            assert self.run(name, "--corpus", tmp_path, "--json", systems=["fourier"]) == 0
            table = json.loads(capsys.readouterr().out)["tables"][name]
            assert (table["recordings"], table["queries"], table["cliques"]) == (recordings, 4, 2)
            assert table["systems"]["fourier"]["figures"]["map"]["value"] == 1.0
            assert len(table["systems"]["fourier"]["hubness"]["hubs"]) == min(recordings, 10)

    def test_pop_among_leaves_qmax_out_unless_asked(self, tmp_path, rng, capsys):
        write_pop(tmp_path / "recordings.npz", rng)
        save_random(tmp_path / "random.safetensors")
        given = ["--corpus", tmp_path, "--weights", tmp_path / "random.safetensors", "--json"]
        assert main(["benchmark-accuracy", "pop-among", *map(str, given)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert list(found["tables"]["pop-among"]["systems"]) == ["ours", "fourier"]

    def test_missing_archive(self, tmp_path, capsys):
        assert self.run("anthems", "--corpus", tmp_path) == 1
        assert "anthems.npz" in capsys.readouterr().err
