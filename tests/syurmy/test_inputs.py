"""What ``--input`` takes: the same for programs and models, tables, images and sound in an input's shape."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syurmy import inputs
from syurmy.inputs import Port
from syurmy.isa.errors import InputError

Image = pytest.importorskip("PIL.Image")


def given(option: str, shape: tuple[int, ...] | None, real: bool = True, **more: Any) -> tuple[Any, list[str]]:
    notes: list[str] = []
    read = inputs.read([option], {"x": Port("x", shape, real, more.pop("peak", 0.0))}, tell=notes.append, **more)
    return read["x"], notes


def refused(option: str, shape: tuple[int, ...], real: bool = True, **more: Any) -> InputError:
    with pytest.raises(InputError) as e:
        given(option, shape, real, **more)
    return e.value


# ---- shapes --------------------------------------------------------------------------------------------------------


def test_a_missing_batch_axis_is_added_and_said(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "x.npy", x)
    value, notes = given(f"x={tmp_path / 'x.npy'}", (1, 2, 3))
    assert np.array_equal(value, x[None])
    assert notes == ["input 'x': [2, 3] becomes [1, 2, 3], a batch of one"]
    value, notes = given(f"x={tmp_path / 'x.npy'}", (2, 3))
    assert (value.shape, notes) == ((2, 3), [])
    value, _ = given(f"x={tmp_path / 'x.npy'}", (3, 2))  # as many entries in another order are not taken
    assert value.shape == (2, 3)
    assert given("x=[1,2,3,4]", (1, 2, 2))[0].tolist() == [[[1, 2], [3, 4]]]
    assert given("x=7", (1, 1))[0].tolist() == [[7]]


def test_an_only_array_of_another_name_is_taken_and_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", wrong=np.ones(2))
    value, notes = given(str(tmp_path / "a.npz"), (2,))
    assert value.tolist() == [1, 1]
    assert notes == [f"input 'x': {tmp_path / 'a.npz'} has no entry of that name; 'wrong', its only one, is taken"]
    assert given(f"x={tmp_path / 'a.npz'}", (2,))[1] == []  # whoever names the input has said which
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    assert given(str(tmp_path / "a.npz"), (2,))[1] == []


def test_names_of_models_may_hold_anything() -> None:
    ports = {n: Port(n, (), True) for n in ("in:0", "a=b", "a")}
    assert inputs.read(["in:0=1", "a=b=2", "a=3"], ports) == {"in:0": 1, "a=b": 2, "a": 3}
    with pytest.raises(InputError, match="there is no input 'in:1'") as e:
        inputs.read(["in:1=1"], ports)
    assert (e.value.code, e.value.help) == ("I101", "did you mean 'in:0'?")


# ---- tables --------------------------------------------------------------------------------------------------------


def test_columns_of_a_table_are_inputs_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,income,comment\n31,2.5,7\n40,-1,8\n")
    ports = {n: Port(n, (1, 1), True) for n in ("age", "income")}
    read = inputs.read([str(tmp_path / "t.csv")], ports, batch=True)
    assert {k: v.tolist() for k, v in read.items()} == {"age": [[[31]], [[40]]], "income": [[[2.5]], [[-1]]]}


@pytest.mark.parametrize("header", ["", "a,b,c\n"])
def test_rows_of_a_table_are_features_of_one_input(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}1, 2.5,3\n")
    value, _ = given(f"x={tmp_path / 't.csv'}", (1, 3))
    assert value.tolist() == [[1, 2.5, 3]]
    (tmp_path / "t.csv").write_text(f"{header}1,2,3\n4,5,6\n")
    value, _ = given(f"{tmp_path / 't.csv'}", (1, 3), batch=True)
    assert value.tolist() == [[[1, 2, 3]], [[4, 5, 6]]]
    value, _ = given(f"{tmp_path / 't.csv'}", (3, 2))  # six numbers, but another shape
    assert value.shape == (2, 3)


def test_integers_of_a_table_stay_exact(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n9007199254740993\n")
    assert given(f"x={tmp_path / 't.csv'}", (1,), real=False)[0].tolist() == [2**53 + 1]


@pytest.mark.parametrize(
    "text", ["", "a,b\n", "a,b\n1\n", "a,b\n1,two\n", "a,a\n1,2\n", "1,2\n3\n", "1" * 200_000], ids=range(7)
)
def test_damaged_tables_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert refused(f"x={tmp_path / 't.csv'}", (1, 2)).code == "F110"


# ---- images --------------------------------------------------------------------------------------------------------

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14  # 3 wide, 2 high, RGB


@pytest.fixture
def rgb(tmp_path: Path) -> str:
    Image.fromarray(PIXELS).save(tmp_path / "rgb.png")
    return f"x={tmp_path / 'rgb.png'}"


@pytest.fixture
def grey(tmp_path: Path) -> str:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    return f"x={tmp_path / 'grey.png'}"


def test_an_image_takes_the_shape_of_its_input(rgb: str, grey: str) -> None:
    value, notes = given(rgb, (1, 3, 2, 3), real=False)
    assert np.array_equal(value[0], PIXELS.transpose(2, 0, 1))
    assert notes[0].endswith("rgb.png: 3 x 2 pixels, RGB, 0 to 255")
    for shape in ((2, 3, 3), (1, 2, 3, 3)):
        assert np.array_equal(given(rgb, shape, real=False)[0].reshape(2, 3, 3), PIXELS)
    for shape in ((2, 3), (1, 2, 3), (1, 1, 2, 3), (2, 3, 1), (6,), (1, 6)):
        value, notes = given(grey, shape)
        assert value.shape == shape
        assert np.array_equal(value.reshape(2, 3), PIXELS[..., 0].astype(np.float32) / np.float32(255))
        assert notes[0].endswith("grey.png: 3 x 2 pixels, grey, 0 to 1, black to white")


def test_an_image_of_another_size_is_not_resized(rgb: str) -> None:
    e = refused(rgb, (1, 3, 8, 9))
    assert (e.code, e.help) == ("I115", "resize it as the model's training images were, to 9 x 8")
    assert refused(rgb, (10,)).help == "that input is no image"
    assert refused(rgb, (3, 2)).code == "I115"


def test_units_that_the_model_does_not_expect_are_told(grey: str) -> None:
    assert any("was calibrated up to 255" in note for note in given(grey, (2, 3), peak=255.0)[1])
    assert len(given(grey, (2, 3), peak=8.0)[1]) == 1


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not an image")
    assert refused(f"x={tmp_path / 'x.png'}", (2, 3)).code == "F110"
    assert refused(f"x={tmp_path / 'gone.png'}", (2, 3)).code == "F100"
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "deep.png")
    assert refused(f"x={tmp_path / 'deep.png'}", (2, 3)).code == "F110"


@pytest.mark.filterwarnings("error")
def test_an_image_is_unpacked_only_if_it_has_as_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")  # 13 kB; Pillow warns of so many pixels
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("unpacked"))
    assert refused(f"x={tmp_path / 'large.png'}", (2, 3)).code == "I115"


# ---- sound ---------------------------------------------------------------------------------------------------------


def write_wave(path: Path, data: bytes, width: int, channels: int = 1) -> str:
    with wave.open(str(path), "wb") as f:
        f.setnchannels(channels)
        f.setsampwidth(width)
        f.setframerate(8000)
        f.writeframes(data)
    return f"x={path}"


def test_a_sound_becomes_samples(tmp_path: Path) -> None:
    samples = np.array([0, 1, -1, 2**15 - 1, -(2**15)])
    option = write_wave(tmp_path / "x.wav", samples.astype("<i2").tobytes(), 2)
    value, notes = given(option, (1, 5))
    assert np.array_equal(value[0], samples.astype(np.float32) / np.float32(2**15))
    assert notes == [f"{tmp_path / 'x.wav'}: 5 samples at 8,000 Hz, -1 to 1"]
    assert np.array_equal(given(option, (5,), real=False)[0], samples)
    e = refused(option, (1, 16))
    assert (e.code, "5 samples (0.000625 s) in 1 channel," in e.message) == ("I115", True)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    data[24:28] = bytes(4)  # samples a second
    (tmp_path / "x.wav").write_bytes(data)
    assert refused(option, (1, 16)).code == "F110"


def test_other_widths_have_the_same_units(tmp_path: Path) -> None:
    coarse = write_wave(tmp_path / "8.wav", bytes([0, 128, 192]), 1)
    assert given(coarse, (3,))[0].tolist() == [-1, 0, 0.5]
    fine = np.array([-(2**23), 0, 2**22], "<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    assert given(write_wave(tmp_path / "24.wav", fine, 3), (3,))[0].tolist() == [-1, 0, 0.5]
    wide = np.array([-(2**31), 0, 2**30], "<i4").tobytes()
    assert given(write_wave(tmp_path / "32.wav", wide, 4), (3,))[0].tolist() == [-1, 0, 0.5]


def test_channels_are_not_mixed(tmp_path: Path) -> None:
    stereo = np.array([[1, -1], [2, -2], [3, -3]], "<i2")
    option = write_wave(tmp_path / "x.wav", stereo.tobytes(), 2, channels=2)
    assert given(option, (1, 2, 3), real=False)[0].tolist() == [stereo.T.tolist()]
    assert given(option, (3, 2), real=False)[0].tolist() == stereo.tolist()
    assert refused(option, (6,)).code == "I115"


def test_other_formats_are_read_by_the_package_soundfile(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = np.array([0, 1000, -1000, 32767], np.int16)
    soundfile.write(tmp_path / "x.flac", samples, 8000)
    assert np.array_equal(given(f"x={tmp_path / 'x.flac'}", (4,), real=False)[0], samples)
    soundfile.write(
        tmp_path / "x.wav", samples / 2**15, 8000, subtype="FLOAT"
    )  # which the standard library cannot read
    assert np.array_equal(given(f"x={tmp_path / 'x.wav'}", (4,), real=False)[0], samples)
    (tmp_path / "y.flac").write_bytes(b"not a sound")
    assert refused(f"x={tmp_path / 'y.flac'}", (4,)).code == "F110"
    assert refused(f"x={tmp_path / 'gone.wav'}", (4,)).code == "F100"
