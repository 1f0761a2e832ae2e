"""MT-bench: two turns of conversation, each scored from 1 to 10 by an LLM."""
