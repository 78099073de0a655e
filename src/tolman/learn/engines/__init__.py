"""What samples the completions of a step: the learner's own process, workers, or a server."""
