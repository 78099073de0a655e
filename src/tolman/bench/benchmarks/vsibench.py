"""VSI-Bench: eight spatial tasks on 288 scanned rooms (5,130 questions)."""

from tolman.bench import vsibench as vsi
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rows import vsibench_question
from tolman.bench.rules import averages, flagevalmm, lmms_eval, spacer_eval, video_r1, vlmevalkit

BENCHMARKS = [
    Benchmark(
        name="vsibench", title="VSI-Bench", citation="Yang et al., Thinking in Space, arXiv 2412.14171",
        licence="Apache-2.0", source="nyu-visionx/VSI-Bench",
        clips="arkitscenes.zip, scannet.zip, scannetpp.zip",
        files=("test.jsonl", "test-00000-of-00001.parquet", "questions_*.json", "eval_vsibench.json"),
        read=lambda number, row: vsibench_question(row),
        prompt=lambda question: vsi.official_prompt(question.problem, question.options),
        frames="32 (8 to 64 by model), evenly from first to last", sampling={"frames": 32},
        kind=lambda row: "numeric" if vsi.task_of(row["question_type"]) in vsi.NUMERICAL else "choice",
        macro=True, task_of=vsi.task_of, tasks=vsi.TASKS, shares=vsi.row_shares,
        published={"GPT-4o": 34.0, "Gemini-1.5-Pro": 45.4, "LLaVA-Video-72B": 40.9, "SpaceR-7B": 45.6,
                   "Qwen2.5-VL-7B": 33.5},
        published_in="the paper's table; SpaceR's abstract; Qwen2.5-VL-7B, 128 frames: EASI's verification",
        rules={
            "official": Rule(vsi.official, vsi.macro, "the text before the first blank is the answer"),
            "lmms_eval": Rule(lmms_eval.vsibench_current, vsi.macro,
                "the first number or number word anywhere"),
            "lmms_eval_pre20260714": Rule(vsi.official, vsi.macro, "equal to official"),
            "vlmevalkit": Rule(vlmevalkit.vsibench_current, vsi.macro,
                "seven steps for letters, the last number"),
            "vlmevalkit_20251204": Rule(vlmevalkit.vsibench_20251204, averages.by_type,
                "strict bounds, over rows"),
            "spacer_eval_thinking": Rule(spacer_eval.vsibench_rule, vsi.macro,
                "number words first, no minus sign"),
            "flagevalmm": Rule(flagevalmm.vsibench_rule, averages.by_type, "cleaned answers, over rows"),
            "video_r1_eval": Rule(video_r1.vsibench_rule, video_r1.aggregate, "exact letters, strict bounds"),
        },
    )
]  # fmt: skip
