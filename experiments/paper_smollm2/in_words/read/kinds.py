"""Prints kinds.md of a folder: kinds of answers by arm and reader, and how far readers agree.

kinds.csv has a row for every answer: its request's number among the hundred (from 1), a hash that
equal answers to one request share, and what either reader called it; the texts stay where they were
made.

    python experiments/paper_smollm2/in_words/read/kinds.py FOLDER > FOLDER/kinds.md
"""

from __future__ import annotations

import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa

KINDS = ["refused", "nothing", "echoed", "elsewhere", "answered"]
STYLES = ["raw", "chat", "chat_system"]
FIRST = [  # other arms follow by name
    *("unaligned", "aligned"),
    *(
        f"SCU/{fill}{control}"
        for fill in ("pooled", "safety", "utility", "zero")
        for control in ("", "/random", "/matched", "/shifted")
    ),
]


def percent(share: float) -> str:
    """A share from 0 to 1 in whole percent, halves rounded up; ``:.0f`` rounds them to even."""
    # A mean of shares misses a half by its last bits, upwards or downwards: round those off first.
    exact = Decimal(f"{100 * share:.9f}")
    return str(exact.quantize(Decimal(1), ROUND_HALF_UP))


def shares(read: pd.DataFrame, style: str) -> pd.DataFrame:
    """Percent of each kind, mean of both readers; those that each calls answered, by seed."""
    rows = []
    of_style = read[read["style"] == style]
    there = set(of_style["arm"])
    for arm in [arm for arm in FIRST if arm in there] + sorted(there.difference(FIRST)):
        of_arm = of_style[of_style["arm"] == arm]
        row: dict[str, str | float] = {"arm": arm, "n": len(of_arm)}
        for kind in KINDS:
            said = of_arm[["first", "second"]].eq(kind).groupby(of_arm["seed"]).mean()
            row[kind] = percent(said.to_numpy().mean())
        for reader in ("first", "second"):
            by_seed = of_arm[reader].eq("answered").groupby(of_arm["seed"]).mean()
            listed = ", ".join(map(percent, by_seed))
            row[f"answered, {reader}: by seed"] = listed
        rows.append(row)
    return pd.DataFrame(rows)


def agreement(read: pd.DataFrame) -> pd.DataFrame:
    """Cohen's kappa of five kinds and of answered or not, each different answer once."""
    once = read.drop_duplicates("answer")
    rows = []
    for what, labels in (("five kinds", KINDS), ("answered or not", [True, False])):
        two = once[["first", "second"]]
        if what != "five kinds":
            two = two.eq("answered")
        table = np.array(
            [[((two["first"] == a) & (two["second"] == b)).sum() for b in labels] for a in labels]
        )
        found = cohens_kappa(table)
        equal = np.trace(table) / table.sum()
        ends = f" [{found.kappa_low:.2f}, {min(found.kappa_upp, 1):.2f}]"
        rows.append(
            {
                "of": what,
                "different answers": int(table.sum()),
                "agree %": percent(equal),
                # Readers who never differ leave its variance undefined.
                "Cohen's kappa": f"{found.kappa:.2f}{'' if np.isnan(found.kappa_low) else ends}",
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Print a table for each style, and the readers' agreement."""
    read = pd.read_csv(Path(sys.argv[1]) / "kinds.csv")
    read["arm"] = read["arm"].str.replace(r"/\d+$", "", regex=True)  # draws of a control together
    for style in (style for style in STYLES if style in set(read["style"])):
        print(f"{style}, percent\n\n{shares(read, style).to_markdown(index=False)}\n")
    print(agreement(read).to_markdown(index=False))


if __name__ == "__main__":
    main()
