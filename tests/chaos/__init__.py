"""Long fault sweeps, run by `make chaos`; docs/benchmarks/chaos.md has what each does and its time."""
