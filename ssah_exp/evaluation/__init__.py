"""What is asked of a model, ablated or not: completions, judges, perplexity, intervals."""
