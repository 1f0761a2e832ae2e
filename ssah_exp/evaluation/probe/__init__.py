"""Reasoning-direction probe (protocol section 7): where a continuation goes, block by block.

Read in this order: ``openings`` (what follows a request), ``states`` (hidden states of greedy
continuations), ``distances`` (between two such states), ``measure`` (all requests and openings),
``summary`` (numbers with intervals; ``curves`` over depth). ``separability`` is the linear probe.
"""
