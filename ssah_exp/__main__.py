"""`python -m ssah_exp` is the console command `ssah-exp`."""

from ssah_exp.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
