"""Any image benchmark with options, as VLMEvalKit scores it without a judge."""

from tolman.bench.asking import SEE_SOURCE, kind
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, vlmevalkit

BENCHMARKS = [
    Benchmark(
        name="image_mcq_generic",
        title="Image benchmarks in VLMEvalKit",
        citation="Duan et al., VLMEvalKit, arXiv 2407.11691",
        licence=SEE_SOURCE,
        kind=kind("choice"),
        official="vlmevalkit_exact_matching",
        rules={"vlmevalkit_exact_matching": Rule(vlmevalkit.image_choice, averages.by_type, "no judge")},
    )
]
