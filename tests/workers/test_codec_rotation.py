"""The activity that adds a codec key: once for each id, however often it is tried."""

from activities.payloads.interface import CodecRotated, RotateCodec
from tests.support.codec import Shelf
from workers.codec_rotation import CodecRotation
from workers.runtime.key_ring import CodecKey

ORDER = RotateCodec(key_id="20261123-0a0b0c0d")


async def test_a_key_is_added_once_for_its_id() -> None:
    shelf = Shelf(CodecKey.generate())
    rotation = CodecRotation(shelf)
    assert await rotation.rotate_codec(ORDER) == CodecRotated(key_id=ORDER.key_id, added=True)
    assert await rotation.rotate_codec(ORDER) == CodecRotated(key_id=ORDER.key_id, added=False)
    assert [key.key_id for key in shelf.keys[1:]] == [ORDER.key_id]


async def test_where_nothing_is_encrypted_nothing_is_added() -> None:
    done = await CodecRotation(None).rotate_codec(ORDER)
    assert done == CodecRotated(key_id=None, added=False)
