"""quantum-clm: the continuous-learning daemon; read clm/cycle.py first."""

__version__ = "0.1.0"
