"""How hypothesis runs: the same examples every time; FEATURENERF_DEEP=1 asks for many more, and others each time."""
import os

try: from hypothesis import HealthCheck, settings
except ImportError: pass                                   # those tests skip themselves
else:
    common = dict(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
    settings.register_profile('same', max_examples=30, derandomize=True, **common)
    settings.register_profile('deep', max_examples=1000, print_blob=True, **common)
    settings.load_profile('deep' if os.environ.get('FEATURENERF_DEEP') else 'same')
