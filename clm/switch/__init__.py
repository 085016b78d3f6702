"""Root's helper: installs a verified model, points the engine to it and restarts the engine.

It uses the standard library only, answers one request a connection, and trusts nothing that the daemon's user
can write. Whoever may connect can make it do no more than the actions of `clm.engine.switch_request`.
"""
