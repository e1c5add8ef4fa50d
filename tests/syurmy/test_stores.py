"""Keys in stores of folders and of objects: an upload that breaks off never counts, what is damaged is told, and what
is too short is put there again. With s3fs and moto also by S3's protocol."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import syurmy
from syurmy import stores
from syurmy.isa.encoding import encode
from syurmy.isa.errors import InputError
from syurmy.prover.keys import ProvingKey

fsspec = pytest.importorskip("fsspec", reason="the extra 'cluster' is not installed")

SOURCE = """\
.program a
.input  x : i8[] private
.param  w : i8[] committed = {3}
.param  v : i8[2, 2] committed = {{1, 2}, {3, 4}}
.output y public
mul z, x, w
mul q, v, z
sum y, q
halt
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProvingKey, Path]:
    folder = tmp_path_factory.mktemp("key")
    (folder / "a.tasm").write_text(SOURCE)
    key, _ = syurmy.setup(folder / "a.tasm")
    key.save(folder / "a.pk")
    return key, folder / "a.pk"


@pytest.fixture(params=["file", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where keys are put, empty."""
    if request.param == "file":
        yield f"{tmp_path}/store"
    elif request.param == "memory":
        yield f"memory://{tmp_path.name}"
    else:
        pytest.importorskip("s3fs", reason="s3fs is not installed")
        server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(port=0)
        server.start()
        host, port = server.get_host_and_port()
        given = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "DEFAULT_REGION": "us-east-1"}
        for name, value in {**given, "ENDPOINT_URL": f"http://{host}:{port}"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
        yield "s3://bucket/keys"
        server.stop()


def refused(store: stores.Store, digest: bytes, into: Path) -> str:
    """Why a key cannot be fetched; nothing of it is left."""
    with pytest.raises(InputError) as e:
        store.fetch(digest, into)
    assert (e.value.code, list(into.iterdir())) == ("X163", [])
    assert store.url in e.value.message
    return e.value.message


def test_what_is_half_there(
    place: str, made: tuple[ProvingKey, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key, path), store, into = made, stores.Store(place), tmp_path / "fetched"
    digest, put = key.verifying_key.digest(), stores._put
    fs, root = fsspec.core.url_to_fs(place)
    folder = f"{root}/{digest.hex()}"
    assert "contents.json" in refused(store, digest, into) or "No such file" in refused(store, digest, into)

    def broken(fs: Any, source: Path, target: str) -> None:
        if target.endswith("/key"):
            raise ConnectionError("the connection broke off")
        put(fs, source, target)

    with monkeypatch.context() as m:
        m.setattr(stores, "_put", broken)
        with pytest.raises(InputError, match="the connection broke off") as e:
            store.publish(key.program, path, digest)
        assert e.value.code == "X163"
    refused(store, digest, into)
    store.publish(key.program, path, digest)
    found = stores.load(store.fetch(digest, into))
    assert found.verifying_key.digest() == digest
    counting = replace(found, allowance=key.allowance)  # as a worker asks for its share
    proof = syurmy.prove(counting, syurmy.run(found.program, {"x": 2}))
    assert syurmy.verify(key.verifying_key, proof).outputs["y"] == 60

    fs.invalidate_cache()
    with fs.open(f"{folder}/key", "rb") as file:
        data = file.read()
    for kept, healed in ((data[:-9], True), (data[:-1] + bytes([data[-1] ^ 1]), False)):
        fs.pipe_file(f"{folder}/key", kept)
        assert "damaged: delete it and prove again" in refused(store, digest, tmp_path / "again")
        store.publish(key.program, path, digest)
        with fs.open(f"{folder}/key", "rb") as file:
            assert (file.read() == data) is healed
    fs.rm_file(f"{folder}/contents.json")
    refused(store, digest, tmp_path / "again")
    store.publish(key.program, path, digest)
    fs.rm_file(f"{folder}/params")
    refused(store, digest, tmp_path / "again")
    fs.pipe_file(f"{folder}/contents.json", b'{"files": []}')
    refused(store, digest, tmp_path / "again")
    store.publish(key.program, path, digest)
    assert store.fetch(digest, tmp_path / "again").is_dir()
    if place.startswith("s3:"):  # a typing error makes no bucket
        with pytest.raises(InputError, match=r"s3://other/keys cannot be used: .*bucket does not exist"):
            stores.Store("s3://other/keys").publish(key.program, path, digest)
        assert [x.rstrip("/") for x in fs.ls("")] == ["bucket"]


def test_what_is_there_and_another(made: tuple[ProvingKey, Path], tmp_path: Path) -> None:
    """Files that fit the list beside them and are not those of the key: whoever writes in a store can say anything."""
    (key, path), store, into = made, stores.Store(f"{tmp_path}/store"), tmp_path / "fetched"
    digest = key.verifying_key.digest()
    store.publish(key.program, path, digest)
    there = tmp_path / "store" / digest.hex()
    assert store.load(digest, into).verifying_key.digest() == digest
    honest = {name: (there / name).read_bytes() for name in stores.FILES}
    (tmp_path / "b.tasm").write_text(SOURCE.replace("{3}", "{4}"))
    again, other = syurmy.setup(key.program)[0], syurmy.setup(tmp_path / "b.tasm")[0]
    again.save(tmp_path / "again.pk")
    few = key.program.params[:1]
    save_file({p.name: np.array(key.program.data[p.name], np.int8) for p in few}, tmp_path / "few")
    for name, data, why in (
        ("program", encode(other.program)[:-1], "malformed program"),
        ("program", b"", "malformed program"),
        ("params", b"{", "header"),
        ("params", (tmp_path / "few").read_bytes(), "'v'"),
        ("key", b"", "not a proving key"),
        ("key", (tmp_path / "again.pk").read_bytes(), "it is the key"),
    ):
        for each, own in honest.items():
            (there / each).write_bytes(data if each == name else own)
        files = {each: stores._measured(there / each) for each in stores.FILES}
        (there / stores.CONTENTS).write_text(json.dumps({"format": stores.FORMAT, "files": files}))
        shutil.rmtree(into / digest.hex(), ignore_errors=True)
        with pytest.raises(InputError, match=why) as e:
            store.load(digest, into)
        assert (e.value.code, list(into.iterdir())) == ("X163", [])
        assert e.value.message.startswith(f"the store {store.url} has another key")
    shutil.rmtree(there)
    store.publish(key.program, path, digest)
    assert store.load(digest, into).verifying_key.digest() == digest


def test_a_list_that_says_too_much(
    made: tuple[ProvingKey, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched that the list does not allow, and no list that is not short, whole and of this version."""
    (key, path), store, into = made, stores.Store(f"{tmp_path}/store"), tmp_path / "fetched"
    digest = key.verifying_key.digest()
    store.publish(key.program, path, digest)
    there = tmp_path / "store" / digest.hex()
    honest = json.loads((there / stores.CONTENTS).read_text())
    name, size = "params", honest["files"]["params"][0]

    def told(listed: Any) -> str:
        (there / stores.CONTENTS).write_text(listed if isinstance(listed, str) else json.dumps(listed))
        return refused(store, digest, into)

    def of(**changed: Any) -> Any:
        return {**honest, "files": {**honest["files"], **changed}}

    fetched: list[str] = []
    get = stores._get
    monkeypatch.setattr(stores, "_get", lambda fs, *what: (fetched.append(what[0]), get(fs, *what)))
    damaged = "contents.json is damaged: delete it and prove again"
    for listed in (
        *("", "[]", "null", "{", "[" * 5000, json.dumps(honest) + " " * 5000, {"format": 1}, {**honest, "files": 3}),
        *(of(params=x) for x in (3, [], [size], [-1, ""], ["9", ""], [True, ""], [1e300, ""], [size, 5], None)),
        *(of(more=[1, ""]), of(program=[2**30 + 1, ""]), {"format": 1, "files": {name: [size, ""]}}),
    ):
        assert told(listed).endswith(damaged)
    assert "has format 2, this version of syurmy-vm reads 1" in told({**honest, "format": 2})
    assert " bytes, " in (message := told(of(key=[2**62, ""])))
    assert message.endswith(" are free here")
    assert not fetched
    digest_of = honest["files"][name][1]
    assert f"has more than the {size - 1:,} bytes of its list" in told(of(params=[size - 1, digest_of]))
    assert f"has fewer than the {size + 1:,} bytes of its list" in told(of(params=[size + 1, digest_of]))
    with (there / name).open("ab") as file:
        file.truncate(1 << 40)  # of nothing, which takes no room
    assert f"has more than the {size:,} bytes" in told(honest)
    assert len(fetched) == 6
    with (there / name).open("ab") as file:
        file.truncate(size + 2000)
    (there / stores.CONTENTS).write_text(json.dumps(of(params=stores._measured(there / name))))
    with pytest.raises(InputError, match=f"its params have {size + 2000:,} bytes, those that the program declares"):
        store.load(digest, into)
    shutil.rmtree(there)
    store.publish(key.program, path, digest)
    assert store.load(digest, into).verifying_key.digest() == digest


def test_errors_of_a_protocol(made: tuple[ProvingKey, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever class they are of, as that of missing credentials is none of Python's."""
    from fsspec.implementations.memory import MemoryFileSystem

    class NoCredentialsError(Exception):
        """As botocore has it."""

    def without(*_: object, **__: object) -> bytes:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", without)
    store, (key, path) = stores.Store("memory://closed"), made
    for attempt in (
        lambda: store.publish(key.program, path, key.verifying_key.digest()),
        lambda: store.fetch(key.verifying_key.digest(), tmp_path / "fetched"),
    ):
        with pytest.raises(InputError) as e:
            attempt()
        assert (e.value.code, e.value.message) == (
            *("X163", "the store memory://closed cannot be used: Unable to locate credentials"),
        )
