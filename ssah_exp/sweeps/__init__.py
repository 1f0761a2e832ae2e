"""Many runs as one: frozen at submission, run here or by Slurm, looked at and finished later."""
