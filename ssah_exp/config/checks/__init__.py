"""What is wrong with one group of the config: sentences, one per mistake."""
