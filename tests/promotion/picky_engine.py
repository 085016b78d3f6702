"""The stand-in engine, made to behave as the model file's first word says."""

import os
import runpy
import sys
import threading
import time
from pathlib import Path

path = Path(os.environ.get("PATCHTST_MODEL_PATH", "/nonexistent"))
word = path.read_bytes().split(b" ")[0] if path.is_file() else b""
if word == b"crash":
    sys.exit(1)
if word == b"shy" and os.environ.get("PATCHTST_SHADOW_ONLY") != "true":  # watches, but does not trade
    sys.exit(1)
if word == b"late":  # serves, answers, and dies a moment later
    threading.Timer(0.7, lambda: os._exit(1)).start()
if word == b"deaf":  # lives, but never answers
    time.sleep(3600)
sys.argv = ["engine.py", "--no-model"]
runpy.run_path(str(Path(__file__).parents[2] / "examples" / "engine.py"), run_name="__main__")
