"""Questions about a scene: asking them, and answering those somebody else asked."""
