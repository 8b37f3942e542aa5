"""What measure-metal-traffic.py measures: one module for each family of kernels.

Every module here but `frame` and `reference` has a function

    def measure(reference: Reference | None) -> list[Table]

which launches the family's kernels in trace mode at the width of gpt-oss-20b and returns what
docs/performance.md shows. With a `reference` (a checkout of openai/gpt-oss), its kernels run on the
same sizes, for the columns beside ours.
"""
