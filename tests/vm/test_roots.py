"""What a guest's Python is given."""

from __future__ import annotations

from tests.vm import roots

PROJECT = """
[project]
dependencies = ["rich>=13.7", "pyelftools>=0.30"]
[project.optional-dependencies]
fleet = ["duckdb>=1.0"]
metrics = ["prometheus_client>=0.19"]
dev = ["pytest>=8", "mypy>=1.10", "pyte>=0.8"]
"""


def test_requirements_are_the_project_s() -> None:
    wanted = ["rich>=13.7", "pyelftools>=0.30", "prometheus_client>=0.19", "pytest>=8", "pyte>=0.8"]

    assert roots.requirements(PROJECT) == wanted
