"""The threat table of docs/security.md: nothing that strangers make runs code or leaves its place."""

from __future__ import annotations

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tolman.data.rows import clip_path
from tolman.learn.checkpoint import save_step
from tolman.questions.question import Question
from tolman.report.folder import RunFiles
from tolman.report.page import render

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(file for name in ("src", "perf", "checks", "docs") for file in (ROOT / name).rglob("*.py"))
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
           "socketserver", "http.server", "xmlrpc.server", "wsgiref", "uvicorn", "flask"}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
NEEDED = {
    "torch.load": ("weights_only", True), "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}  # fmt: skip
NEVER = {"shell": False, "trust_remote_code": False, "allow_pickle": False, "weights_only": True}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute, "" for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(source: str) -> list[str]:
    """What a module imports or calls that can run what it is given, or listens."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [name for name in names if name in MODULES]
        elif isinstance(node, ast.Call):
            found += dangerous_call(node)
    return found


def dangerous_call(node: ast.Call) -> list[str]:
    """The same of one call."""
    name = dotted(node.func)
    given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
    found = [name] if name in CALLS or name.endswith(("extractall", "start_server")) else []
    needed = dict([NEEDED[name]] if name in NEEDED else [])
    if "Auto" in name and name.endswith("from_pretrained"):
        needed["trust_remote_code"] = False
    found += [f"{name} without {key}={value}" for key, value in needed.items() if given.get(key) is not value]
    return found + [f"{name}({key}=…)" for key, value in NEVER.items() if given.get(key, value) is not value]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "from http import server", "import http.server",
        "eval('1')", "exec(code)", "compile(code, '', 'eval')", "__import__('os')", "os.system('ls')",
        "yaml.load(text)", "torch.load(path)", "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)", "np.load(path)", "np.load(path, allow_pickle=True)",
        "subprocess.run('ls', shell=True)", "subprocess.run('ls', shell=flag)",
        "AutoModel.from_pretrained(path)", "transformers.AutoTokenizer.from_pretrained(p)",
        "model_class.from_pretrained(path, trust_remote_code=True)", "archive.extractall(path)",
    ],
)  # fmt: skip
def test_dangers_are_found(source: str) -> None:
    assert dangers(source)


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "re.compile('a')", "torch.load(path, weights_only=True)", "ast.literal_eval(text)",
     "np.load(path, allow_pickle=False)", "Qwen.from_pretrained(path)", "subprocess.run(['ls'])"],
)  # fmt: skip
def test_and_nothing_else_is(source: str) -> None:
    assert not dangers(source)


def test_sources_hold_nothing_dangerous() -> None:
    assert len(SOURCES) > 100
    found = {str(file): dangers(file.read_text(encoding="utf-8")) for file in SOURCES}
    assert not {file: names for file, names in found.items() if names}


def test_servers_of_tests_listen_on_the_loopback() -> None:
    servers = re.compile(r"(?:HTTPServer|TCPServer)\(\s*\(([^,]+),")
    hosts = {
        host.strip()
        for file in sorted((ROOT / "tests").glob("*.py"))
        for host in servers.findall(file.read_text(encoding="utf-8"))
    }
    assert hosts <= {'"127.0.0.1"', '"localhost"'}
    assert hosts  # the pattern finds those that there are


def test_every_line_of_the_threat_table_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(lines) >= 12
    for line in lines:
        named = re.findall(r"`(test_\w+\.py)?(?:::(\w+))?`", line.split("|")[4])
        assert named, line
        file = ""
        for another, name in named:
            file = another or file
            source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"(?:def|class) {name}\b", source), f"{file}::{name}"


def test_a_run_writes_no_pickle(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    path = save_step(tmp_path, 1, {"policy": layer}, optimiser, keep=1)
    kinds = {file.suffix for file in path.iterdir()}
    assert kinds == {".safetensors", ".json"}
    for file in path.glob("*.safetensors"):
        content = file.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        assert all(set(entry) == {"dtype", "shape", "data_offsets"} for entry in header.values())


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    from learn_world import tiny_policy
    from tolman.policy.load import load_policy, save_policy

    folder, mark = tmp_path / "policy", tmp_path / "mark"
    save_policy(tiny_policy(), folder)
    code = f"open({str(mark)!r}, 'w').close()\nclass Config: ...\nclass Model: ...\n"
    (folder / "custom.py").write_text(code)
    auto = {"AutoConfig": "custom.Config", "AutoModel": "custom.Model", "AutoTokenizer": ["custom.Model"] * 2}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | {"auto_map": auto}))
    assert load_policy(folder).frames == 4
    assert not mark.exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.mp4", "clips/../../a.mp4", "../clips2/a.mp4"])
@pytest.mark.parametrize("root", ["data/clips", ".", "/srv/clips"])
def test_rows_cannot_leave_the_folder_of_clips(path: str, root: str) -> None:
    with pytest.raises(ValueError, match=r"question q7: its clip .* lies outside"):
        clip_path(question(path), root)


@pytest.mark.parametrize("path", ["a.mp4", "./a.mp4", "b/../a.mp4", "..a/b.mp4", "/srv/clips/a.mp4"])
def test_but_may_go_anywhere_in_it(path: str) -> None:
    assert clip_path(question(path), "/srv/clips") == Path("/srv/clips") / path


def question(path: str) -> Question:
    row = {"problem_id": "q7", "problem": "?", "solution": "<answer>1</answer>", "path": path,
           "problem_type": "numerical", "data_type": "video"}  # fmt: skip
    return Question.from_row(row)


class Elements(HTMLParser):
    """Elements with their attributes' names, in order; texts are left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, tuple(key for key, _ in attributes)))


def report(name: str) -> str:
    """A report in which everything that a stranger could choose is `name`."""
    reward = {"value": 0.5, "reason": name}
    rollout = {"step": 1, "problem_id": name, "completion": name, "rewards": {name: reward}, "reward": 0.5,
               "solution": name, "question_type": name}  # fmt: skip
    drawn = {"id": 1, "scene": name, "clip": "gone.mp4", "question": name, "options": [name], "raw": name,
             "ground_truth": name, "extracted": name, "score": 1.0}  # fmt: skip
    run = RunFiles(
        path=Path("/nowhere"),
        evaluation=None,
        before=[],
        after=[drawn | {"cognitive_map": {name: [[1, 2]]}}],
        metrics=[{"step": k, f"x{name}": k / 2} for k in (1, 2)],
        rollouts=[json.dumps(rollout)],
        skipped=[{"step": 1, "path": name, "reason": name}],
        recipe_text=name,
        recipe={"run": {"name": f"x{name}"}},
        clips=None,
    )
    return render(run)


PIECES = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '" onload="alert(1)', "</pre></main>",
          "'", "&lt;", "<!--", "]]>", "</style>", "javascript:", "\x00", "\u2028", "\ud800"]  # fmt: skip


@settings(max_examples=40)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=12), min_size=1, max_size=6).map("".join))
def test_any_text_stays_text_in_the_report(name: str) -> None:
    plain = "y" * max(1, min(len(name), 3))
    if not name.strip():
        name = plain
    assert Elements(report(name)).found == Elements(report(plain)).found
