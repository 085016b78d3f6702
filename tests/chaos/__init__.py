"""Long fault sweeps, run by `make chaos`; docs/chaos.md says what each does and how long it takes."""
