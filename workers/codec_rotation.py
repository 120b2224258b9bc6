"""The deals worker's part in rotating the codec's key."""

from temporalio import activity

from activities.payloads.interface import CodecActivities, CodecRotated, RotateCodec
from workers.runtime.key_ring import CodecKey, KeySource


class CodecRotation(CodecActivities):
    """Adds keys where they are kept."""

    def __init__(self, source: KeySource | None) -> None:
        """Take the place of the keys; None where payloads are not encrypted."""
        self._source = source

    @activity.defn
    async def rotate_codec(self, order: RotateCodec) -> CodecRotated:
        """Add a codec key, unless it is there. Raises `Unavailable` and `InvalidConfiguration`."""
        if self._source is None:
            return CodecRotated(key_id=None, added=False)
        known = await self._source.read()
        added = order.key_id not in {key.key_id for key in known}
        if added:
            await self._source.add(CodecKey.generate(order.key_id))
        return CodecRotated(key_id=order.key_id, added=added)
