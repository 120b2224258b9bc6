"""The one way to connect to Temporal, for workers, starters and the replayer alike."""

from collections.abc import Sequence

from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from domain.errors import Unavailable


async def connect(
    *, runtime: Runtime | None = None, interceptors: Sequence[Interceptor] = ()
) -> Client:
    """Connect as the environment says (``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE``, TLS, key).

    Raises `Unavailable` if Temporal does not answer.
    """
    options = ClientConfig.load_client_connect_config()
    address = options.get("target_host") or "localhost:7233"
    options["target_host"] = address
    try:
        return await Client.connect(
            **options,
            data_converter=pydantic_data_converter,
            runtime=runtime,
            interceptors=interceptors,
        )
    except (RuntimeError, RPCError) as error:
        raise Unavailable(
            "Temporal does not answer",
            field="TEMPORAL_ADDRESS",
            value=address,
            actual=str(error).partition("\n")[0],
            next_action="start the local stack with `deal local up`, or set TEMPORAL_ADDRESS",
        ) from error
