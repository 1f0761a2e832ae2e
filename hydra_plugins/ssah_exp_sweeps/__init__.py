"""Launchers and sweepers of ssah-exp, where Hydra looks for them; imported at every start."""
