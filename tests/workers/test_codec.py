"""The payload codec: what Temporal keeps, and who can read it."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretBytes
from temporalio.api.common.v1 import Payload

from domain.errors import InvalidConfiguration, InvalidInput, Unavailable
from tests.support.codec import Shelf
from workers.runtime.codec import ENCODING, KEY_ID, EncryptingCodec
from workers.runtime.codec_keys import key_source, needed_source
from workers.runtime.key_ring import RELOAD_SECONDS, CodecKey, FileKeySource, KeyRing
from workers.runtime.settings import CodecSettings

payloads = st.builds(
    Payload,
    metadata=st.dictionaries(st.text(max_size=20), st.binary(max_size=20), max_size=3).filter(
        lambda metadata: metadata.get("encoding") != ENCODING
    ),
    data=st.binary(max_size=500),
)


def key(name: str) -> CodecKey:
    return CodecKey(name, SecretBytes(os.urandom(32)), datetime.now(UTC))


class Away(Shelf):
    """Keys that can be read once, and then not."""

    async def read(self) -> tuple[CodecKey, ...]:
        keys = await super().read()
        if self.readings > 1:
            raise Unavailable("away", next_action="wait")
        return keys


@dataclass
class Process:
    """One process with its key ring and its clock."""

    shelf: Shelf
    namespace: str = "default"
    now: float = 0.0
    codec: EncryptingCodec = field(init=False)

    def __post_init__(self) -> None:
        self.codec = EncryptingCodec(KeyRing(self.shelf, lambda: self.now), self.namespace)

    async def encode(self, *payloads: Payload) -> list[Payload]:
        return await self.codec.encode(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.codec.decode(payloads)


HELLO = Payload(metadata={"encoding": b"json/plain"}, data=b'"hello"')


def key_id(payload: Payload) -> str:
    return payload.metadata[KEY_ID].decode()


@given(st.lists(payloads, min_size=1, max_size=5))
def test_what_is_encoded_decodes_to_the_same_and_shows_nothing(sent: list[Payload]) -> None:
    async def there_and_back() -> None:
        process = Process(Shelf(key("k")))
        encoded = await process.encode(*sent)
        for before, after in zip(sent, encoded, strict=True):
            assert set(after.metadata) == {"encoding", "encryption-cipher", KEY_ID}
            assert after.metadata["encoding"] == ENCODING
            assert len(before.data) < 8 or before.data not in after.data
        assert await process.decode(encoded) == sent

    asyncio.run(there_and_back())


@given(position=st.floats(min_value=0, max_value=1, exclude_max=True), flip=st.integers(1, 255))
def test_a_payload_that_was_changed_anywhere_is_refused(position: float, flip: int) -> None:
    async def changed() -> None:
        process = Process(Shelf(key("k")))
        (encoded,) = await process.encode(HELLO)
        data = bytearray(encoded.data)
        data[int(position * len(data))] ^= flip
        with pytest.raises(InvalidInput, match="cannot be decrypted"):
            await process.decode([Payload(metadata=encoded.metadata, data=bytes(data))])

    asyncio.run(changed())


@pytest.mark.parametrize("length", [0, 1, 12, 27])
async def test_a_payload_cut_short_is_refused(length: int) -> None:
    process = Process(Shelf(key("k")))
    (encoded,) = await process.encode(HELLO)
    cut = Payload(metadata=encoded.metadata, data=encoded.data[:length])
    with pytest.raises(InvalidInput):
        await process.decode([cut])


async def test_no_two_payloads_are_encrypted_alike() -> None:
    encoded = await Process(Shelf(key("k"))).encode(*[HELLO] * 1000)
    assert len({payload.data[:12] for payload in encoded}) == 1000
    assert len({payload.data for payload in encoded}) == 1000


async def test_a_payload_of_another_namespace_is_none_here() -> None:
    shelf = Shelf(key("k"))
    with pytest.raises(InvalidInput, match="another namespace"):
        await Process(shelf).decode(await Process(shelf, namespace="other").encode(HELLO))


async def test_a_payload_under_the_name_of_another_key_is_refused() -> None:
    process = Process(Shelf(key("a"), key("b")))
    (encoded,) = await process.encode(HELLO)
    encoded.metadata[KEY_ID] = b"a"
    with pytest.raises(InvalidInput):
        await process.decode([encoded])


async def test_what_was_never_encrypted_is_passed_on() -> None:
    assert await Process(Shelf(key("k"))).decode([HELLO]) == [HELLO]


async def test_the_newest_key_encrypts_and_every_key_decrypts() -> None:
    shelf = Shelf(key("first"))
    old = await Process(shelf).encode(HELLO)
    await shelf.add(key("second"))
    later = Process(shelf)
    new = await later.encode(HELLO)
    assert [key_id(*old), key_id(*new)] == ["first", "second"]
    assert await later.decode([*old, *new]) == [HELLO, HELLO]


async def test_a_running_process_encrypts_with_a_new_key_within_a_minute() -> None:
    process = Process(Shelf(key("first")))
    await process.encode(HELLO)
    await process.shelf.add(key("second"))
    process.now = RELOAD_SECONDS
    assert key_id(*await process.encode(HELLO)) == "first"
    process.now += 1
    assert key_id(*await process.encode(HELLO)) == "second"
    assert process.shelf.readings == 2


async def test_a_running_process_decrypts_with_a_new_key_at_once() -> None:
    process = Process(Shelf(key("first")))
    await process.encode(HELLO)
    await process.shelf.add(key("second"))
    assert await process.decode(await Process(process.shelf).encode(HELLO)) == [HELLO]


async def test_a_key_that_nobody_has_is_named_and_not_asked_for_again_and_again() -> None:
    process = Process(Shelf(key("here")))
    foreign = await Process(Shelf(key("elsewhere"))).encode(*[HELLO] * 50)
    for payload in foreign:
        with pytest.raises(InvalidConfiguration, match="codec key elsewhere") as caught:
            await process.decode([payload])
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.limit) == (KEY_ID, "elsewhere", "here")
    assert process.shelf.readings <= 2
    process.now += 2
    await process.shelf.add(key("elsewhere"))
    with pytest.raises(InvalidInput):  # the same name, but not the same key
        await process.decode(foreign)


async def test_while_the_keys_cannot_be_read_the_known_ones_stand() -> None:
    process = Process(Away(key("k")))
    encoded = await process.encode(HELLO)
    process.now = 2 * RELOAD_SECONDS
    assert key_id(*await process.encode(HELLO)) == "k"
    assert await process.decode(encoded) == [HELLO]
    with pytest.raises(InvalidConfiguration):
        await process.decode(await Process(Shelf(key("new"))).encode(HELLO))


async def test_without_any_key_nothing_is_encoded() -> None:
    with pytest.raises(InvalidConfiguration, match="no key"):
        await Process(Shelf()).encode(HELLO)


# -- the file ------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def write(file: Path, content: str, mode: int = 0o600) -> None:
    file.write_text(content)
    file.chmod(mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_mode & 0o777 for entry in folder.iterdir()}


async def test_a_file_keeps_its_keys_in_their_order_and_to_its_owner(file: Path) -> None:
    source, keys = FileKeySource(file), [CodecKey.generate() for _ in range(3)]
    for each in keys:
        await source.add(each)
    assert await source.read() == tuple(keys)
    assert modes_in(file.parent) == {file.name: 0o600, ".keys.json.lock": 0o600}


async def test_two_rotations_at_once_keep_both_keys(file: Path) -> None:
    keys = [CodecKey.generate() for _ in range(20)]
    await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, FileKeySource(file).add(each)) for each in keys)
    )
    assert {k.key_id for k in await FileKeySource(file).read()} == {k.key_id for k in keys}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
async def test_a_file_open_to_others_is_refused(file: Path, mode: int) -> None:
    write(file, "", mode)
    with pytest.raises(InvalidConfiguration) as caught:
        await FileKeySource(file).read()
    assert caught.value.problem.actual == f"mode {mode:04o}"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"version": 2, "keys": []}',
        '{"version": 1}',
        '{"version": 1, "keys": [{"id": "a", "key": "c2hvcnQ=", "created_at": "2026-11-23"}]}',
        '{"version": 1, "keys": [{"id": "a", "key": "not base64", "created_at": "2026-11-23"}]}',
        '{"version": 1, "keys": [7]}',
    ],
)
async def test_a_file_that_is_none_of_ours_is_refused_without_repeating_it(
    file: Path, content: str
) -> None:
    write(file, content)
    with pytest.raises(InvalidConfiguration) as caught:
        await FileKeySource(file).read()
    assert caught.value.problem.value == str(file)
    assert "c2hvcnQ" not in repr(caught.value.problem)


async def test_a_missing_file_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    nowhere = FileKeySource(tmp_path / "nowhere" / "keys.json")
    with pytest.raises(InvalidConfiguration):
        await nowhere.read()
    with pytest.raises(InvalidConfiguration):
        await nowhere.add(CodecKey.generate())


def test_a_key_never_shows_itself() -> None:
    generated = CodecKey.generate()
    assert generated.document()["key"] not in repr(generated) + str(generated)
    assert repr(generated.secret.get_secret_value())[2:-1] not in repr(generated)


# -- the settings --------------------------------------------------------------------------------


def test_production_never_leaves_payloads_readable() -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        key_source(CodecSettings(codec_keys="off"))
    assert caught.value.problem.field == "DEAL_CODEC_KEYS"
    development = CodecSettings(codec_keys="off", environment="development")
    assert key_source(development) is None
    with pytest.raises(InvalidConfiguration):
        needed_source(development)


def test_a_place_that_is_not_named_is_asked_for() -> None:
    for settings, variable in (
        (CodecSettings(codec_keys="file"), "DEAL_CODEC_KEYS_FILE"),
        (CodecSettings(), "VAULT_ADDR"),
    ):
        with pytest.raises(InvalidConfiguration) as caught:
            key_source(settings)
        assert caught.value.problem.field == variable
