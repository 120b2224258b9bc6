"""Puts the boundaries into the real classes, so that armed crashes happen there."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from temporalio import activity

from tests.faults.boundaries import ACTIVATION, ALL, Boundary, Side
from tests.faults.crashes import WORKING_ON, Crashes

_workflow_of_run: dict[str, str] = {}
_NOBODY: Final = ""


def wrap_all(role: str, folder: Path) -> None:
    """Wrap every boundary of a role in this process."""
    watch = _Watch(Crashes(folder))
    for boundary in ALL:
        if boundary.role == role:
            _wrap(boundary.target, boundary, watch)
            if boundary.also is not None:
                _wrap(boundary.also, boundary, watch)


class _Watch:
    """Counts the calls of this process and crashes it at the one that is armed."""

    def __init__(self, crashes: Crashes) -> None:
        self._crashes = crashes
        self._passed: Counter[str] = Counter()

    def passing(self, boundary: Boundary, side: Side, about: str) -> None:
        """Crash if that is armed here; not in another activity that passes the same place."""
        if activity.in_activity() and activity.info().activity_type != boundary.activity:
            return  # a dry run, say, builds and simulates the same steps
        for crash in self._crashes.armed():
            if (crash.boundary, crash.side) != (boundary.name, side) or crash.about != about:
                continue
            self._passed[crash.case] += 1
            if self._passed[crash.case] == crash.call:
                self._crashes.fire(crash, **_where(about))


def _where(about: str) -> dict[str, Any]:
    if not activity.in_activity():
        return {"workflow_id": about}
    info = activity.info()
    return {
        "workflow_id": info.workflow_id or "",
        "activity_id": info.activity_id,
        "attempt": info.attempt,
    }


def _wrap(target: str, boundary: Boundary, watch: _Watch) -> None:
    owner, name = owner_of(target)
    original = getattr(owner, name)
    kind = _coroutine if inspect.iscoroutinefunction(original) else _function
    setattr(owner, name, kind(original, boundary, watch))


def owner_of(target: str) -> tuple[Any, str]:
    """The class or module that has the target, and its name there."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    return owner, name


def _coroutine(original: Any, boundary: Boundary, watch: _Watch) -> Callable[..., Any]:
    @functools.wraps(original)
    async def wrapped(*arguments: Any, **options: Any) -> Any:
        about = _about(boundary, arguments)
        before = WORKING_ON.set(about)
        try:
            watch.passing(boundary, "before", about)
            answer = await original(*arguments, **options)
            watch.passing(boundary, "after", about)
            return answer
        finally:
            WORKING_ON.reset(before)

    return wrapped


def _function(original: Any, boundary: Boundary, watch: _Watch) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        watch.passing(boundary, "before", WORKING_ON.get())
        answer = original(*arguments, **options)
        watch.passing(boundary, "after", WORKING_ON.get())
        return answer

    return wrapped


def _about(boundary: Boundary, arguments: tuple[Any, ...]) -> str:
    """What a call is about: told by what is outermost, an activity or a workflow task."""
    if boundary.target == ACTIVATION:
        return _workflow(arguments[1])
    return WORKING_ON.get() or _key(arguments)


def _key(arguments: tuple[Any, ...]) -> str:
    for each in arguments[1:]:
        batch = getattr(each, "batch", each)
        if (key := getattr(batch, "key", None)) is not None:
            return str(key)
        if (view := getattr(each, "view", None)) is not None:
            return _record(view.request.deal_id, each.step)
        if (deal_id := getattr(each, "deal_id", None)) is not None:
            return str(deal_id)
        if isinstance(each, str):
            return each
    return _NOBODY


def _record(deal_id: str, step: Any) -> str:
    return deal_id if step is None else f"{step.outcome.key}"


def _workflow(activation: Any) -> str:
    """The workflow of an activation; only the first one of a run says it."""
    for job in activation.jobs:
        if job.HasField("initialize_workflow"):
            _workflow_of_run[activation.run_id] = job.initialize_workflow.workflow_id
    return _workflow_of_run.get(activation.run_id, _NOBODY)
