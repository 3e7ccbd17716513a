"""Decoding: every kind of odd recording has a defined result."""

import contextlib
import os
import socket
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from mirex.errors import AudioError
from mirex.features.audio import SAMPLE_RATE, AudioWarning, decode
from synthesis import RATE, encode, song, tone, write, write_m4a


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    """A recording that is in order gives no warning; tests of others say which they expect."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    return tmp_path / "a.wav"


def test_float_wav_at_the_target_rate_is_bit_exact(wav, rng):
    samples = rng.uniform(-1, 1, 5000).astype(np.float32)
    decoded = decode(write(wav, samples, subtype="FLOAT"))
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, samples)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_whole_numbers_become_the_floats_that_libsndfile_makes_of_them(wav, rng, subtype):
    samples = np.concatenate([[-1.0, 1.0, 0.0], rng.uniform(-1, 1, 5000)])
    expected = soundfile.read(write(wav, samples, subtype=subtype), dtype="float32")[0]
    assert expected.min() == -1.0
    assert np.array_equal(decode(wav), expected)


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_downmix_is_the_mean_of_the_channels(wav, rng, channels):
    samples = rng.uniform(-1, 1, (5000, channels)).astype(np.float32)
    np.testing.assert_allclose(decode(write(wav, samples, subtype="FLOAT")), samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 96000, 192000])
def test_resampling_is_soxr_hq_as_if_in_one_piece(wav, rate):
    samples = tone(440, seconds=2.0, rate=rate, amplitude=0.5)
    decoded = decode(write(wav, samples, rate=rate, subtype="FLOAT"))
    assert np.array_equal(decoded, soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ"))
    middle = slice(SAMPLE_RATE // 2, 3 * SAMPLE_RATE // 2)
    np.testing.assert_allclose(decoded[middle], tone(440, seconds=2.0, amplitude=0.5)[middle], atol=1e-3)


def test_blocks_give_the_same_as_the_whole(wav, rng, monkeypatch):
    write(wav, rng.uniform(-1, 1, (30_000, 2)), rate=44100)
    whole = decode(wav)
    monkeypatch.setattr("mirex.features.sndfile.BLOCK_SAMPLES", 1000)
    assert np.array_equal(decode(wav), whole)


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3", "aiff", "au", "caf", "w64"])
def test_formats_of_libsndfile(tmp_path, ending, monkeypatch):
    path = write(tmp_path / f"a.{ending}", song(0))
    expected, _ = soundfile.read(path, dtype="float32")
    monkeypatch.setattr("mirex.features.sndfile.BLOCK_SAMPLES", 1 << 14)
    # In MP3, soundfile's own reading by blocks was 0.25 off: it seeks after every block.
    np.testing.assert_allclose(decode(path), expected, atol=1e-6)


def test_what_libsndfile_refuses_goes_to_ffmpeg(tmp_path):
    samples = song(0)
    decoded = decode(write_m4a(tmp_path / "a.m4a", samples))
    lag = np.argmax(np.correlate(decoded[: RATE // 2], samples[: RATE // 4], "valid"))
    assert abs(len(decoded) - len(samples)) < 4096
    assert np.corrcoef(decoded[lag : lag + 2 * RATE], samples[: 2 * RATE])[0, 1] > 0.98


def test_the_format_is_told_by_content_not_by_name(tmp_path):
    flac = write(tmp_path / "a.flac", song(0))
    renamed = flac.rename(tmp_path / "a.raw")
    assert len(decode(renamed)) == len(song(0))


@pytest.mark.parametrize("samples", [1, 2, 100, 511])
def test_very_short(wav, samples):
    assert len(decode(write(wav, 0.5 * (np.arange(samples) % 2 == 0)))) == samples


def test_too_short_for_one_sample(wav):
    with pytest.raises(AudioError, match="has no audio samples"):
        decode(write(wav, np.full(2, 0.5), rate=192_000))


def test_clipped_and_dc_pass_as_they_are(wav):
    clipped = np.clip(5 * tone(440, seconds=0.5), -1, 1)
    assert np.array_equal(decode(write(wav, clipped, subtype="FLOAT")), clipped)
    offset = 0.25 + 0.1 * tone(440, seconds=0.5)
    assert np.array_equal(decode(write(wav, offset, subtype="FLOAT")), offset)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_few_samples_that_are_no_numbers_are_zeros(wav, bad):
    samples = np.full((10_000, 2), 0.5, np.float32)
    samples[100, 0] = bad
    write(wav, samples, subtype="FLOAT")
    with pytest.warns(AudioWarning, match="^1 samples"):
        decoded = decode(wav)
    assert decoded[100] == 0.25
    assert np.all(np.delete(decoded, 100) == 0.5)


def test_many_samples_that_are_no_numbers_are_an_error(wav):
    samples = np.full(1000, np.nan, np.float32)
    samples[20:] = 0.5
    with pytest.raises(AudioError, match="20 of 1000 samples"):
        decode(write(wav, samples, subtype="FLOAT"))


@pytest.mark.parametrize("level", [17.0, 1e5, -1e5])
def test_a_few_samples_far_beyond_full_scale_are_zeros(wav, level):
    samples = np.full((10_000, 2), 0.5, np.float32)
    samples[100, 0] = level
    write(wav, samples, subtype="FLOAT")
    with pytest.warns(AudioWarning, match="^1 samples beyond 16 x full scale"):
        decoded = decode(wav)
    assert decoded[100] == 0.25
    assert np.all(np.delete(decoded, 100) == 0.5)


@pytest.mark.parametrize("scale", [20.0, 32768.0])
def test_another_full_scale_passes_as_it_is(wav, scale):
    samples = scale * song(0)
    assert np.array_equal(decode(write(wav, samples, subtype="FLOAT")), samples)


class TestSilence:
    """It has no embedding: any two silent files would be the same work."""

    @pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
    def test_digital(self, tmp_path, ending):
        with pytest.raises(AudioError, match="is silent"):
            decode(write(tmp_path / f"a.{ending}", np.zeros((2 * RATE, 2))))

    @pytest.mark.parametrize(
        ("codec", "container"), [("aac", "mp4"), ("ac3", "ac3"), ("eac3", "matroska"), ("wmav2", "asf")]
    )
    def test_encoded_by_ffmpeg(self, tmp_path, rng, codec, container):
        """With dither too, of which the codec makes other noise."""
        silence = np.zeros((4 * 48000, 2), np.float32)
        dither = rng.integers(-1, 2, silence.shape).astype(np.float32) / 32768
        for samples in (silence, dither):
            path = encode(
                tmp_path / "a", samples, codec=codec, container=container, rate=48000, bit_rate=192_000
            )
            with pytest.raises(AudioError, match="is silent"):
                decode(path)

    def test_with_dither(self, wav, rng):
        with pytest.raises(AudioError, match="is silent"):
            decode(write(wav, rng.integers(-1, 2, RATE).astype(np.int16)))

    @pytest.mark.parametrize("dither", [0, 1])
    def test_with_an_offset(self, wav, rng, dither):
        samples = rng.integers(-dither, dither + 1, (RATE, 2)) + [3000, -200]
        with pytest.raises(AudioError, match="is silent"):
            decode(write(wav, samples.astype(np.int16)))

    def test_music_that_is_as_quiet_is_none(self, wav):
        samples = (2e-5 * song(0)).astype(np.float32)
        assert np.array_equal(decode(write(wav, samples, subtype="FLOAT")), samples)


class TestCancellation:
    """Channels whose mean is nothing."""

    @pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16", "PCM_24"])
    def test_the_louder_channel_is_used(self, wav, subtype):
        samples = 0.9 * song(0)
        write(wav, np.stack([samples, -1.001 * samples], axis=1), subtype=subtype)
        with pytest.warns(AudioWarning, match="cancel each other out; only channel 2 is used"):
            np.testing.assert_allclose(decode(wav), -1.001 * samples, atol=1e-4)

    def test_with_an_offset(self, wav):
        samples = 0.5 * song(0)
        write(wav, np.stack([0.2 + samples, 0.1 - 1.001 * samples], axis=1), subtype="FLOAT")
        with pytest.warns(AudioWarning, match="cancel each other out; only channel 2 is used"):
            np.testing.assert_allclose(decode(wav), 0.1 - 1.001 * samples, atol=1e-6)

    def test_in_eight_bits(self, wav):
        """Their rounding is an offset of half a step."""
        samples = 0.9 * song(0)
        write(wav, np.stack([samples, -samples], axis=1), subtype="PCM_U8")
        with pytest.warns(AudioWarning, match="cancel each other out"):
            assert np.abs(decode(wav)).max() > 0.8

    def test_one_sample_late_is_left_alone(self, wav):
        samples = song(0)
        both = np.stack([samples, -np.roll(samples, 1)], axis=1)
        np.testing.assert_allclose(decode(write(wav, both, subtype="FLOAT")), both.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_truncated_is_used_up_to_the_damage(tmp_path, ending):
    samples = np.tile(song(1), 8)
    path = write(tmp_path / f"a.{ending}", samples)
    whole = decode(path)
    os.truncate(path, path.stat().st_size * 6 // 10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decoded = decode(path)
    assert 0.4 < len(decoded) / len(samples) < 0.7
    np.testing.assert_allclose(decoded, whole[: len(decoded)], atol=0.02)
    # WAV and Ogg readers take the length from what is there, so nothing looks amiss in them.
    if ending in ("flac", "mp3"):
        assert any("seconds" in str(warning.message) for warning in caught)


def test_truncated_into_the_header(tmp_path):
    for ending in ("wav", "flac", "ogg"):
        path = write(tmp_path / f"a.{ending}", song(0))
        os.truncate(path, 20)
        with pytest.raises(AudioError):
            decode(path)


def test_an_index_at_the_end_that_is_cut_off(tmp_path):
    path = write_m4a(tmp_path / "a.m4a", song(0))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(AudioError, match="without its index"):
        decode(path)


def test_header_without_samples(wav):
    with pytest.raises(AudioError, match="has no audio samples"):
        decode(write(wav, np.zeros(0)))


def test_empty_file(wav):
    wav.touch()
    with pytest.raises(AudioError, match="is empty"):
        decode(wav)


def test_text_with_the_name_of_audio(tmp_path):
    for name in ("a.wav", "a.mp3", "a.m4a", "a.au"):
        (tmp_path / name).write_text("This is a list of songs.\n" * 500)
        with pytest.raises(AudioError, match="not audio in a format"):
            decode(tmp_path / name)


def test_random_bytes_never_raise_anything_else(wav, rng):
    for head in (b"", b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"\xff\xfb\x90\x00"):
        wav.write_bytes(head + rng.bytes(5000))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(AudioError):
                assert np.isfinite(decode(wav)).all()


def test_missing_folder_device_and_odd_names(tmp_path):
    for path, reason in (
        (tmp_path / "none.wav", "no such file"),
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "not a regular file"),
        (f"{tmp_path}/a\0b", "is not a valid path"),
        (tmp_path / ("x" * 300), "name too long"),
    ):
        with pytest.raises(AudioError, match=reason) as caught:
            decode(path)
        assert f"file: {path}" in caught.value.__notes__


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        decode(tmp_path / "a.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(wav):
    write(wav, song(0)).chmod(0)
    with pytest.raises(AudioError, match="permission denied"):
        decode(wav)


def test_a_name_that_is_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    write(tmp_path / "a.wav", song(0)).rename(path)
    assert len(decode(path)) == len(song(0))


def test_a_playlist_opens_no_address(tmp_path):
    """FFmpeg, left to itself, fetches what a playlist names."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(2)
        port = server.getsockname()[1]

        def listen() -> None:
            try:
                server.accept()[0].close()
                asked.set()
            except OSError:
                pass

        listener = threading.Thread(target=listen)
        listener.start()
        playlist = tmp_path / "a.m3u8"
        playlist.write_text(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:0\n"
            f"#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(AudioError):
            decode(playlist)
        listener.join()
    assert not asked.is_set()


def test_files_are_closed(wav):
    write(wav, song(0, seconds=1))
    text = wav.with_name("text.wav")
    text.write_text("text" * 100)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        decode(wav)
        with pytest.raises(AudioError):
            decode(text)
    assert len(os.listdir("/proc/self/fd")) == before
