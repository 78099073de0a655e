"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ORDER = "scenes render cogmap questions reward video data policy learn bench report cli".split(" ")  # noqa: SIM905


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "--config-file", "pyproject.toml"],
    ],
    ids=["lint", "format", "types"],
)
def test_tool_is_silent(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_packages_to_its_left(package: str) -> None:
    allowed = {*ORDER[: ORDER.index(package) + 1]}
    wrong = []
    for file in (ROOT / "src" / "tolman" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                parts = module.split(".")
                if parts[0] == "tolman" and len(parts) > 1 and parts[1] not in allowed:
                    wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_files_and_functions_are_short() -> None:
    long = []
    for file in SOURCES:
        text = file.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400:
            long.append(f"{file.relative_to(ROOT)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > 60:
                    long.append(f"{file.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert not long
