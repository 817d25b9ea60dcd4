"""`python -m tests.bench`: the figures of docs/architecture.md, section 6, beside the C prototype's when it is there.

A measurement, never an assertion. `cases` says what a measurement is, `sides` who can be measured; `stream`, `rtt`,
`allocation`, `starting` and `idle` say what is measured; docs/reference/benchmarks.md says how to read it.
"""
