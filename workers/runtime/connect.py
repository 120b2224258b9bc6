"""The one way to connect to Temporal, for workers, starters and the replayer alike."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from temporalio.client import Client, GrpcCompression, Interceptor
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError

from domain.errors import InvalidConfiguration, Unavailable
from workers.runtime.codec import EncryptingCodec, data_converter
from workers.runtime.codec_keys import open_key_ring

DEFAULT_NAMESPACE: Final = "default"


@cache
def silent_runtime() -> Runtime:
    """For commands, whose standard output is their answer: the SDK would log its retries there.

    Nothing is lost by it, since what fails in the end is raised.
    """
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter="off")))


async def connect(
    *, runtime: Runtime | None = None, interceptors: Sequence[Interceptor] = ()
) -> Client:
    """Connect as the environment says (``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE``, TLS, key).

    Payloads are encrypted with the keys that the environment names (`CodecSettings`).

    Raises `InvalidConfiguration` if the environment makes no sense, and `Unavailable` if Temporal
    or the place of the keys does not answer.
    """
    try:
        options = ClientConfig.load_client_connect_config()
    except (OSError, RuntimeError, ValueError) as error:
        # An unknown profile, a file that is not there or cannot be read.
        raise _unusable(
            "TEMPORAL_PROFILE, TEMPORAL_CONFIG_FILE, TEMPORAL_TLS_*", None, error
        ) from error
    address = options.get("target_host") or "localhost:7233"
    options["target_host"] = address
    converter = await encrypting_converter(options.get("namespace") or DEFAULT_NAMESPACE)
    try:
        return await Client.connect(
            **options,
            data_converter=converter,
            runtime=runtime,
            # Payloads are a few kilobytes: compressing them costs more than sending them.
            grpc_compression=GrpcCompression.NONE,
            interceptors=interceptors,
        )
    except ValueError as error:
        raise _unusable("TEMPORAL_ADDRESS", address, error) from error
    except (RuntimeError, RPCError) as error:
        raise Unavailable(
            "Temporal does not answer",
            field="TEMPORAL_ADDRESS",
            value=address,
            actual=str(error).partition("\n")[0],
            next_action="start the local stack with `deal local up`, or set TEMPORAL_ADDRESS",
        ) from error


async def encrypting_converter(namespace: str) -> DataConverter:
    """Return the converter of a namespace's payloads, for the client and the replayer alike.

    Raises `InvalidConfiguration` and `Unavailable`, for the place of the keys.
    """
    keys = await open_key_ring()
    return data_converter(None if keys is None else EncryptingCodec(keys, namespace))


def _unusable(field: str, value: str | None, error: Exception) -> InvalidConfiguration:
    return InvalidConfiguration(
        "the settings for Temporal cannot be used",
        field=field,
        value=value,
        actual=str(error).partition("\n")[0],
        next_action="correct the variables named, or start the local stack with `deal local up`",
    )
