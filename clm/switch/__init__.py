"""The root helper of the switch: tiny, the standard library alone, and it believes nobody.

It rewrites one value of the engine's environment file to the path of a model it has verified itself, and
restarts the engine. Whoever may start it can make it do no more than that.
"""
