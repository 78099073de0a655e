"""The pages say what was measured: every table is what docs/tables.py makes of docs/results."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tolman.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[1]


def test_tables_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_dependency_has_a_line() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [
        one for extra in project["optional-dependencies"].values() for one in extra
    ]
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Dependencies")[1]
    for requirement in wanted:
        name = re.split(r"[<>=~ ]", requirement)[0]
        assert name in table, f"{name} has no line in the README's table of dependencies"


def test_every_recipe_is_parsed_and_named_in_no_path_of_this_machine() -> None:
    from tolman.learn.stages import load_stages

    recipes = sorted((ROOT / "recipes").glob("*.toml"))
    assert len(recipes) >= 5
    for file in [*recipes, ROOT / "src" / "tolman" / "cli" / "quickstart.toml"]:
        for stage in load_stages(file):
            assert not stage.data.path.startswith("/")
            assert not stage.model.path.startswith("/")


def test_results_name_no_path_of_the_machine_they_were_made_on() -> None:
    results = sorted((ROOT / "docs" / "results").glob("*.json"))
    assert results
    for file in results:
        assert not re.findall(r'"(?:/|[A-Z]:\\|~)[^"]*"', file.read_text(encoding="utf-8")), file


def test_the_example_of_stages_parses() -> None:
    import tomllib

    from tolman.learn.stages import parse_stages

    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert [stage.run.name for stage in parse_stages(tomllib.loads(example))] == ["01-choose", "02-grpo"]


def test_every_method_has_its_recipe_in_the_table() -> None:
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`recipes/([\w.-]+)\.toml`", text))
    there = {file.stem for file in (ROOT / "recipes").glob("*.toml")}
    assert named <= there
    assert {name for name in there if not name.startswith("starter")} <= named


def commands(text: str) -> list[str]:
    """The lines of a page's shell examples that call tolman."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("tolman ")]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_command_of_a_page_parses(page: Path) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        words = shlex.split(command.replace(" … ", " "), comments=True)[1:]
        arguments, rest = build_parser().parse_known_args(words)
        assert not rest or getattr(arguments, "takes_overrides", False), f"{command}: {rest}"


def test_the_page_on_evaluation_names_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert len(commands(text)) >= 5
    there: set[str] = set()
    for command in ("eval", "score", "compare"):
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help"])
        there |= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= there
