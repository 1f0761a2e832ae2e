"""Many runs as one: frozen at submission, run here or by Slurm, checked and finished later."""
