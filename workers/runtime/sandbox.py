"""The sandbox that workflows run in, without a question it would be asked at every payload.

The SDK enters a workflow's sandbox for each payload it encodes or decodes, to ask in what context
that is done. Neither our converter nor our codec takes a context, and the asking was a quarter of
what the deals worker spent: here it is answered outside.
"""

from collections.abc import Sequence
from typing import Any, Final

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.workflow import Info

_NO_STORE: Final = StorageDriverStoreContext(target=None)


class ContextFreeRunner(WorkflowRunner):
    """Runs workflows as another runner does, and says of each payload that it has no context.

    Not for a converter or codec that is a `temporalio.converter.WithSerializationContext`.
    """

    def __init__(self, runner: WorkflowRunner) -> None:
        """Take the runner that does the work."""
        self._runner = runner

    def prepare_workflow(self, defn: Any) -> None:  # noqa: ANN401 - the SDK's own type is private
        """Have the other runner prepare it."""
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Have the other runner make it."""
        return _ContextFree(self._runner.create_instance(det))

    def set_worker_level_failure_exception_types(
        self, types: Sequence[type[BaseException]]
    ) -> None:
        """Tell the other runner."""
        self._runner.set_worker_level_failure_exception_types(types)


class _ContextFree(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        return self._instance.activate(act)

    def get_serialization_context(
        self,
        command_info: object,  # noqa: ARG002 - the SDK's
    ) -> SerializationContext | None:
        return None

    def get_external_store_context(
        self,
        command_info: object,  # noqa: ARG002 - the SDK's
    ) -> StorageDriverStoreContext:
        return _NO_STORE

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
