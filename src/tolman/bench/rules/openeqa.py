"""OpenEQA: a model marks each answer from 1 to 5.

Source: facebookresearch/open-eqa, `prompts/mmbench.txt` and `mmbench-extra.txt`,
`openeqa/evaluation/llm_match.py`, `evaluate-predictions.py`. The authors ask gpt-4-1106-preview; figures by
another judge are that judge's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tolman.bench.verdict import Row, Verdict, text_of, truth_of
from tolman.reward.judge import Judge

_MARK = "Your mark:"
_TASK = (
    "You are an AI assistant who will help me to evaluate the response given {given}.\n"
    "To mark a response, you should output a single integer between 1 and 5 (including 1, 5).\n"
    "5 means that the response perfectly matches {five}.\n"
    "1 means that the response is completely different from {one}.\n"
)
_PLAIN = {"given": "the question and the correct answer", "five": "the answer", "one": "the answer"}
_WITH_EXTRA = {
    "given": "the question, the correct answer, and extra answers that are also correct",
    "five": "the answer or any of the extra answers",
    "one": "the answer and all of the extra answers",
}
_EXAMPLES = (
    ("Is it overcast?", "no", "['doesn't look like it', 'no',' it's sunny']", "yes", 1),
    ("Who is standing at the table?", "woman", "['a woman', 'a lady', 'woman']", "Jessica", 3),
    (
        "Are there drapes to the right of the bed?",
        "yes",
        "['yes, there are drapes', 'yeah', 'the drapes are to the right of the king bed']",
        "yes",
        5,
    ),
)


def words(row: Row) -> str:
    """What the judge is asked of a row with `question`, `ground_truth`, `prediction` and, where the question
    has further right answers, `extra_answers`.
    """
    extra = row.get("extra_answers")
    parts = [_TASK.format(**(_WITH_EXTRA if extra else _PLAIN))]
    for number, (question, answer, others, response, mark) in enumerate(_EXAMPLES, 1):
        told = _told(question, answer, others if extra else "", response)
        parts.append(f"Example {number}:\n{told}\n{_MARK} {mark}\n")
    told = _told(str(row["question"]), truth_of(row), str(extra) if extra else "", _cut(text_of(row)))
    return "\n".join([*parts, f"Your Turn:\n{told}"])


def mark_of(reply: str) -> int | None:
    """The mark in a judge's reply: all of it, or the line behind "Your mark:"; None without one."""
    _, tag, behind = reply.partition(_MARK)
    text = behind.partition("\n")[0].strip() if tag else reply.strip()
    return int(text) if text.isdecimal() and len(text) < 3 else None


def marked(judge: Judge) -> Callable[[Row], Verdict]:
    """The rule by that judge: (mark - 1) / 4; no answer is 0 without asking; a row it does not mark cannot be
    graded.
    """

    def judged(row: Row) -> Verdict:
        if row["prediction"] is None:
            return Verdict(0.0, None, "no answer", failed=True)
        reply = judge(words(row))
        mark = None if reply.text is None else mark_of(reply.text)
        if mark is None:
            return Verdict(math.nan, None, reply.reason or f"the judge gives no mark: {reply.text!r:.80}")
        return Verdict((min(max(mark, 1), 5) - 1) / 4, mark)

    return judged


def unasked(row: Row) -> Verdict:
    """The rule without a judge. Raises ValueError."""
    raise ValueError("this rule asks a model: name one, as tolman score does with --judge URL")


def _told(question: str, answer: str, extra: str, response: str) -> str:
    lines = [f"Question: {question}", f"Answer: {answer}", f"Extra Answers: {extra}" if extra else ""]
    return "\n".join(line for line in (*lines, f"Response: {response}") if line)


def _cut(prediction: str) -> str:
    """Less what follows its last full stop, where there is one."""
    return prediction[: prediction.rfind(".") + 1] or prediction
