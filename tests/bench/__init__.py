"""`make bench`: what the project claims to be faster than, measured side by side in one run.

A topic is a module here with `measure(quick: bool) -> Sequence[Ratio | Curve]`. `python -m tests.bench [TOPIC…]` runs
topics one after the other. Only ratios are claims: seconds alone say more about the machine than about the code.
"""
