"""Keys in stores of folders and of objects: an upload that breaks off never counts, what is damaged is told, and what
is too short is put there again. With s3fs and moto also by S3's protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import syurmy
from syurmy import stores
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
