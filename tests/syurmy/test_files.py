"""Reading input tensors from every format, and writing files whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy import files, inputs, keys
from syurmy.cli import app
from syurmy.files import write_whole, written_whole
from syurmy.isa import source
from syurmy.isa.errors import InputError
from syurmy.isa.program import Input, Program
from syurmy.isa.types import DType, TensorType
from syurmy.vm.machine import run


def program(**shapes: tuple[int, ...]) -> Program:
    inputs = tuple(Input(n, TensorType.full(DType.I8, s), False) for n, s in shapes.items())
    return Program("t", inputs, (), (), (), ())


def read(p: Program, options: list[str], path: Path) -> dict[str, Any]:
    return inputs.read(options or inputs.beside(path), inputs.of_program(p))


ONE = program(x=(2, 2))
TWO = program(x=(2, 2), y=(1,))
X = np.array([[1, 2], [3, 4]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "one.npz", first=X)
    np.savez(tmp_path / "both.npz", x=X, y=np.array([9]))
    (tmp_path / "x.json").write_text(json.dumps(X.tolist()))
    (tmp_path / "both.json").write_text(json.dumps({"x": X.tolist(), "y": [9]}))
    (tmp_path / "x.txt").write_text("1, 2\n3 4\n")
    return tmp_path


def test_what_cannot_be_written_is_not_said_to_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder that may only be read (which root is not kept from)."""

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(13, "Permission denied")

    (tmp_path / "p.tasm").write_text(".program p\n.output y public\n.input x : i8[] public\nmov y, x\nhalt")
    monkeypatch.setattr("tempfile.mkstemp", fails)
    done = CliRunner().invoke(app, ["fmt", str(tmp_path / "p.tasm")])
    assert done.exit_code == 2
    assert "F120" in done.output
    assert "changed" not in done.output
    monkeypatch.setattr(Path, "mkdir", fails)
    with pytest.raises(InputError, match=r"cannot write .*/k: Permission denied") as e:
        keys.obtain(syurmy.load(tmp_path / "p.tasm"), tmp_path / "p.tasm", tmp_path / "k")
    assert e.value.code == "F120"


@pytest.mark.parametrize("file", ["x.npy", "one.npz", "both.npz:x", "x.json", "both.json:x", "x.txt"])
@pytest.mark.parametrize("name", ["", "x="])
def test_one_input_from_every_format(folder: Path, file: str, name: str) -> None:
    got = read(ONE, [f"{name}{folder / file}"], folder / "t.tasm")
    assert list(got) == ["x"]
    assert (got["x"] == X).all()


@pytest.mark.parametrize("file", ["both.npz", "both.json"])
def test_a_file_of_named_entries_gives_all_inputs(folder: Path, file: str) -> None:
    got = read(TWO, [str(folder / file)], folder / "t.tasm")
    assert {k: v.tolist() for k, v in got.items()} == {"x": X.tolist(), "y": [9]}


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_inputs_beside_the_program_are_the_default(folder: Path, suffix: str) -> None:
    (folder / f"t.inputs.{suffix}").write_bytes((folder / f"both.{suffix}").read_bytes())
    assert set(read(TWO, [], folder / "t.tasm")) == {"x", "y"}


def test_without_any_file_nothing_is_given(folder: Path) -> None:
    assert read(TWO, [], folder / "t.tasm") == {}


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["x=gone.npy"], "F100", "No such file"),
        (["x=."], "F100", "Is a directory"),
        (["x=bad.npy"], "F110", "does not hold a NumPy array"),
        (["x=bad.npz"], "F110", "does not hold a NumPy archive"),
        (["x=bad.json"], "F110", "does not hold JSON numbers"),
        (["x=bad.txt"], "F110", "does not hold a list of numbers"),
        (["x=pickle.npy"], "F110", "does not hold a NumPy array"),
        (["x=both.npz"], "F111", "has several entries"),
        (["x=both.npz:z"], "F111", "has no entry 'z'"),
        (["x=x.npy:z"], "F111", "has no named entries"),
        (["x.npy"], "I108", "There are 2 inputs: x, y"),
        (["x=x.npy", "x=x.npy"], "I107", "given twice"),
    ],
)
def test_unusable_files_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: str, says: str
) -> None:
    monkeypatch.chdir(folder)
    for suffix in ("npy", "npz", "json", "txt"):
        Path(f"bad.{suffix}").write_text("three, {")
    np.save("pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError) as e:
        read(TWO, options, folder / "t.tasm")
    assert e.value.code == code
    assert says in e.value.message


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_an_entry_that_is_no_input_is_refused_by_its_name(folder: Path, suffix: str) -> None:
    np.savez(folder / "more.npz", x=X, label=3)
    (folder / "more.json").write_text(json.dumps({"x": X.tolist(), "label": 3}))
    given = read(ONE, [str(folder / f"more.{suffix}")], folder / "t.tasm")
    with pytest.raises(InputError, match="no input 'label'") as e:
        run(ONE, given)
    assert e.value.code == "I101"


@pytest.mark.parametrize("damage", ["text", "encrypted", "method", "large"])
def test_archives_that_hold_no_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    path = tmp_path / "x.npz"
    if damage == "large":
        monkeypatch.setattr(files, "UNPACKED", 1000)
    np.savez_compressed(path, x=np.zeros(10**5, np.int64))
    if damage == "text":
        with zipfile.ZipFile(path, "w") as f:
            f.writestr("x", "no array")
    data = bytearray(path.read_bytes())
    directory = data.rfind(b"PK\1\2")
    if damage == "encrypted":
        data[6] |= 1
        data[directory + 8] |= 1
    elif damage == "method":
        data[8] = data[directory + 10] = 99
    path.write_bytes(data)
    with pytest.raises(InputError, match="does not hold a NumPy archive") as e:
        files.read_content(path)
    assert e.value.code == "F110"


@pytest.mark.parametrize("name", ["x.json", "x.txt"])
def test_a_mark_at_the_beginning_of_a_text_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        "\ufeff[1,\r\n2]" if name == "x.json" else "\ufeff1\r\n2", encoding="utf-8", newline=""
    )
    content = files.read_content(tmp_path / name)
    assert isinstance(content, np.ndarray)
    assert content.tolist() == [1, 2]


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    write_whole(target, b"new content")
    assert target.read_bytes() == b"new content"
    assert listing(tmp_path) == ["f"]


def write_part_of(*paths: Path, error: BaseException) -> None:
    with written_whole(*paths) as temporary:
        temporary[0].write_bytes(b"half")
        raise error


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, MemoryError])
def test_interrupted_write_leaves_the_old_file(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with pytest.raises(stop):
        write_part_of(target, error=stop())
    assert target.read_bytes() == b"old"
    assert listing(tmp_path) == ["f"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses to let files grow beyond ``size``: a write fails as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with pytest.raises(InputError, match="cannot write") as e, file_size_limit(1000):
        write_whole(target, bytes(100_000))
    assert e.value.code == "F120"
    assert target.read_bytes() == b"old"
    assert listing(tmp_path) == ["f"]


@pytest.mark.parametrize("name", ["gone/f", "folder", "/dev/null"])
def test_targets_that_cannot_be_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as e:
        write_whole(tmp_path / name, b"x")
    assert e.value.code == "F120"
    assert listing(tmp_path) == ["folder"]
    assert not Path("/dev/null").is_file()


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    write_whole(tmp_path / "loop", b"new")
    assert (tmp_path / "loop").read_bytes() == b"new"


def test_several_files_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    paths = [tmp_path / n for n in "abc"]
    with pytest.raises(InputError):
        write_part_of(*paths, error=OSError(28, "No space left on device"))
    assert listing(tmp_path) == []


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """Not what one that lives is writing, what other targets or people call alike, or what is no file."""
    target = tmp_path / "a.proof"
    program = (
        "import os, pathlib, sys\nfrom syurmy.files import written_whole\n"
        "with written_whole(pathlib.Path(sys.argv[1])) as (t,):\n"
        "    t.write_bytes(b'half'); print(t.name, flush=True); sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, str(target)], **pipes) as process:  # type: ignore[call-overload]
        theirs = process.stdout.readline().strip()
        others = [".a.proof.tmp", ".a.proof.12345678.tmp.more", ".b.proof.12345678.tmp", "a.proof.12345678.tmp"]
        others += [".a.proof.pk.12345678.tmp", ".a.proof.123456789.tmp"]
        for name in others:
            (tmp_path / name).write_bytes(b"")
        (tmp_path / ".a.proof.folder__.tmp").mkdir()
        (tmp_path / ".a.proof.alink___.tmp").symlink_to(target)
        others += [".a.proof.folder__.tmp", ".a.proof.alink___.tmp"]
        for content in (b"one", b"two"):
            write_whole(target, content)
            assert set(listing(tmp_path)) == {"a.proof", theirs, *others}
        process.kill()
    assert (tmp_path / theirs).read_bytes() == b"half"
    write_whole(tmp_path / "b.proof", b"another target")
    assert theirs in listing(tmp_path)
    write_whole(target, b"three")
    assert theirs not in listing(tmp_path)
    assert target.read_bytes() == b"three"


def test_one_that_is_taken_for_a_left_one_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its making and its lock; and where there are no locks nothing is removed."""
    import fcntl

    flock, seen = fcntl.flock, list[str]()

    def late(fd: int, how: int) -> None:
        if not how & fcntl.LOCK_NB and len(seen) < 2:
            seen.extend(listing(tmp_path))
            files._sweep(tmp_path / "f")
        flock(fd, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        write_whole(tmp_path / "f", b"whole")
    assert len(seen) == 2
    assert listing(tmp_path) == ["f"]

    def without(fd: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    (tmp_path / ".f.12345678.tmp").write_bytes(b"")
    monkeypatch.setattr(fcntl, "flock", without)
    write_whole(tmp_path / "f", b"again")
    assert listing(tmp_path) == [".f.12345678.tmp", "f"]


@pytest.mark.parametrize("value", [{"x": [[1, 2], [3]]}, {"x": "text"}])
def test_ragged_or_textual_json(tmp_path: Path, value: Any) -> None:
    from syurmy.vm.inputs import validated

    (tmp_path / "x.json").write_text(json.dumps(value))
    with pytest.raises(InputError):
        validated(ONE, read(ONE, [str(tmp_path / "x.json")], tmp_path / "t.tasm"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("x=[[1,2],[3,4]]", X), ("x= [[1, 2], [3, 4]]", X), ("x=5", 5), ("x=-7", -7), ("x=[]", []), ("x=1.5", 1.5)],
)
def test_numbers_and_lists_are_given_as_they_are(folder: Path, option: str, value: Any) -> None:
    got = read(ONE, [option], folder / "t.tasm")
    assert np.array_equal(got["x"], value)


@pytest.mark.parametrize("text", ["[1,2", "five", '"5"', "null", "true1", "{}", "[" * 100_000])
def test_what_is_neither_a_value_nor_a_file(folder: Path, text: str) -> None:
    with pytest.raises(InputError) as e:
        read(ONE, [f"x={text}"], folder / "t.tasm")
    assert e.value.code in ("F100", "F110")


def test_a_list_that_is_not_rectangular(folder: Path) -> None:
    with pytest.raises(InputError):
        read(ONE, ["x=[[1],[2,3]]"], folder / "t.tasm")


def test_a_file_whose_name_is_a_number_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "5").write_text("1 2 3 4")
    assert (read(ONE, ["x=5"], folder / "t.tasm")["x"] == X).all()


def test_what_has_no_end_is_refused_and_pipes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PIPED", 2**16)
    for option in ("/dev/zero", "x=/dev/zero", "x=/dev/zero:x"):
        with pytest.raises(InputError, match="list of numbers") as e:
            read(ONE, [option], Path("t.tasm"))
        assert e.value.code == "F110"
    with pytest.raises(InputError, match="no regular file") as e:
        files.read_bytes(Path("/dev/zero"))
    assert e.value.code == "F100"
    out, into = os.pipe()
    os.write(into, b"1 2 3 4")
    os.close(into)
    assert read(ONE, [f"x=/dev/fd/{out}"], Path("t.tasm"))["x"].tolist() == X.tolist()
    os.close(out)


def test_names_given_twice_in_one_object(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"x": [[1, 2], [3, 4]], "x": [[5, 6], [7, 8]]}')
    with pytest.raises(InputError, match="'x' is given twice") as e:
        read(ONE, [str(tmp_path / "x.json")], tmp_path / "t.tasm")
    assert e.value.code == "I107"


def test_python_spellings_of_numbers_are_none(tmp_path: Path) -> None:
    for name, text in (("x.txt", "1_0 2 3 4"), ("x.csv", "1_0,2\n3,4\n"), ("y.csv", "a,b\n1,2_0\n3,4\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="does not hold") as e:
            read(ONE, [f"x={tmp_path / name}"], tmp_path / "t.tasm")
        assert e.value.code == "F110"
