"""Root's helper: installs a verified model, points the engine to it and restarts the engine.

It uses only the standard library, handles one request per connection, and trusts nothing that the daemon's
user can write. Clients can only trigger the actions of `clm.engine.switch_request`.
"""
