"""How hypothesis runs: the same examples every time; FEATURENERF_DEEP=1 asks for many more, and others each time."""
import json, os
from datetime import date
from pathlib import Path
import pytest

try: from hypothesis import HealthCheck, settings
except ImportError: pass                                   # hypothesis is one of the dev extras
else:
    common = dict(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
    settings.register_profile('same', max_examples=30, derandomize=True, **common)
    settings.register_profile('deep', max_examples=1000, print_blob=True, **common)
    settings.load_profile('deep' if os.environ.get('FEATURENERF_DEEP') else 'same')


@pytest.fixture
def record(request):
    "Keeps what a slow test measured, under its name, in the JSON file that FEATURENERF_RESULTS names."
    def keep(**numbers):
        if not (path := os.environ.get('FEATURENERF_RESULTS')): return
        from featurenerf.runs import commit, hardware, write_json
        old = json.loads(Path(path).read_text()) if Path(path).exists() else {}
        where = dict(command=f"FEATURENERF_RESULTS={path} pytest -n 0 -m slow '{request.node.nodeid}'", commit=commit(), date=str(date.today()), hardware=hardware())
        write_json(path, old | {request.node.name: dict(numbers, **where)})
    return keep
