"""The production-like Temporal: nothing published but on loopback, nothing unpinned, no secret."""

from __future__ import annotations

import re
import subprocess

import pytest

from starters.local.state import project_dir
from starters.local.temporal import DYNAMIC_CONFIG

COMPOSE = (project_dir() / "docker-compose.temporal.yml").read_text()
FOLDER = project_dir() / "deploy" / "temporal"


def test_both_servers_have_the_same_dynamic_config() -> None:
    text = (FOLDER / "dynamicconfig.yaml").read_text()
    found = re.findall(r"^([\w.]+):\n  - value: (\w+)$", text, flags=re.MULTILINE)
    assert dict(found) == {key: str(value) for key, value in DYNAMIC_CONFIG.items()}


def test_ports_are_published_on_loopback_only() -> None:
    published = re.findall(r'^ +- "(\S+:\d+)"$', COMPOSE, flags=re.MULTILINE)
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_are_pinned() -> None:
    images = re.findall(r"image: (\S+)", COMPOSE)
    assert len(images) == 5
    assert all(re.search(r":\d+\.\d+(\.\d+)?$", image) for image in images)


def test_the_password_is_required_and_nowhere_written() -> None:
    passwords = re.findall(r"(?:PASSWORD|PWD): (.+)$", COMPOSE, flags=re.MULTILINE)
    assert len(passwords) == 3
    assert all(value.startswith("${TEMPORAL_POSTGRES_PASSWORD:?") for value in passwords)
    assert "TEMPORAL_POSTGRES_PASSWORD=\n" in (FOLDER / "env.example").read_text()


@pytest.mark.parametrize("script", ["schema.sh", "namespace.sh"])
def test_scripts_are_valid_shell(script: str) -> None:
    assert f"/deal/{script}" in COMPOSE
    subprocess.run(["/bin/sh", "-n", FOLDER / script], check=True)
