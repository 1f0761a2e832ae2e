"""Records -> tables beside the published values, tests, claims, figures, the HTML report."""
