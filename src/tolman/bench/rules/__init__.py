"""Scoring rules, one module per peer whose code they reproduce; a benchmark names those that apply to it."""
