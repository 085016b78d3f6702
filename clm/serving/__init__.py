"""What an engine imports, so that training and serving cannot drift: the same checks, the same features.

predictor = Predictor.load(path)
predictor.add_row("BTCUSDT", decided_at, features, feature_names)
answer = predictor.predict("BTCUSDT", now)
"""
