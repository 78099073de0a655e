"""Any spatial benchmark with options, as VLMEvalKit (EASI) scores it."""

from tolman.bench.asking import SEE_SOURCE, kind
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, vlmevalkit

BENCHMARKS = [
    Benchmark(
        name="spatial_mcq_generic",
        title="Spatial benchmarks in VLMEvalKit",
        citation="Duan et al., VLMEvalKit, arXiv 2407.11691",
        licence=SEE_SOURCE,
        kind=kind("choice"),
        official="vlmevalkit_extract_matching",
        rules={
            "vlmevalkit_extract_matching": Rule(vlmevalkit.spatial_choice, averages.by_type, "seven steps")
        },
    )
]
