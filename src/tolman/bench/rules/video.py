"""The rules of the authors of MVBench, MLVU, LVBench, SEED-Bench-R1, OVO-Bench and VSI-SUPER."""

from __future__ import annotations

import re

from tolman.bench.rules.common import first_tagged, share_within, to_number
from tolman.bench.verdict import Row, Verdict, matched, text_of, truth_of, whole_text_of


def starts_with_option(said: str, row: Row) -> bool:
    """`check_ans`: whether the first word is part of `(X)`, X the true letter, or holds it; full stops aside.

    The empty answer is part of everything.
    """
    word = said.lower().split(" ")[0]
    option = f"({truth_of(row).strip('()').lower()})"
    return word.replace(".", "") in option or option in word


def mvbench(row: Row) -> Verdict:
    """MVBench (Ask-Anything 4dd8210b): `check_ans` of the answer as it is."""
    return Verdict(float(starts_with_option(text_of(row), row)), None)


def mvbench_after_bracket(row: Row) -> Verdict:
    """MVBench as its notebook calls it: the prompt ends in "(", which is put back before the first line."""
    return Verdict(float(starts_with_option("(" + text_of(row).strip().split("\n")[0], row)), None)


def mlvu(row: Row) -> Verdict:
    """MLVU (fd060c10): the character before the first ")", or the whole answer without one, is the letter."""
    before, bracket, _ = text_of(row).partition(")")
    return Verdict(float((before[-1:] if bracket else before) == truth_of(row).strip("()")), None)


def lvbench(row: Row) -> Verdict:
    """LVBench (f998d955): the first character, behind the first "(" where one stands before the first ")"."""
    text = text_of(row).strip().split(")")[0].strip()
    if "(" in text:
        text = text.split("(")[1].strip()
    return matched(text.split(" ")[0][:1], truth_of(row))


def seed_bench_r1(row: Row) -> Verdict:
    """SEED-Bench-R1 (12e8fccb), without math_verify: first characters of the first `<answer>` and truth."""
    tagged = first_tagged(whole_text_of(row))
    if not tagged:
        return Verdict(0.0, None, "no <answer>", failed=True)
    return Verdict(float(tagged[0] == truth_of(row).strip()[:1]), None)


def vsisuper_count(row: Row) -> Verdict:
    """VSI-SUPER Count (zlduke/cambrian-s 6c4728bf): Python's float of the whole answer, relative accuracy.

    The published code stops with an error at anything else and at a truth of 0; such rows cannot be graded.
    """
    said, truth = to_number(text_of(row)), float(row["ground_truth"])
    if said is None or truth == 0:
        reason = "the published code stops here: " + ("not a number" if said is None else "a truth of 0")
        return Verdict(float("nan"), None, reason, failed=said is None)
    return Verdict(share_within(abs(said - truth) / truth), None)


def ovobench(row: Row) -> Verdict:
    """OVO-Bench (`utils/OVOBenchScore.py`): the true letter anywhere in the answer; for REC, all its digits
    joined are the count; for SSR and CRR, "Y" or "N" alone, else "Yes" or "No" anywhere, capitals as written.
    """
    said, truth, task = text_of(row), truth_of(row), row["question_type"]
    if task == "REC":
        digits = "".join(re.findall(r"\d+", said))
        return Verdict(float(digits == truth), digits or None, failed=not digits)
    if task in ("SSR", "CRR"):
        right = said == truth[:1] or truth in said
        return Verdict(float(right), None, failed=not any(word in said for word in ("Y", "N")))
    return Verdict(float(bool(said) and truth in said), None, failed=not said)


def exact_text(row: Row) -> Verdict:
    """The stripped answer or the text in its first `<answer>` is the letter of the truth, nothing else."""
    said = first_tagged(text_of(row))
    return matched(text_of(row).strip() if said is None else said, truth_of(row).strip())
