"""One training loop driven by recipes: supervised, dense and reinforcement objectives, exact resume."""
