"""Who answers: a policy in this process, vLLM's engine, or any OpenAI-compatible server."""
