"The path that a GPU takes, where there is none: everything is where it must be."
import subprocess, sys
from pathlib import Path
import pytest, torch.utils.backend_registration as registration

@pytest.mark.skipif(not hasattr(registration, '_setup_privateuseone_for_python_backend'), reason='this PyTorch lets no device be defined in Python')
def test_on_another_device_all_comes_out_the_same(tmp_path):
    r = subprocess.run([sys.executable, Path(__file__).with_name('pretend_gpu.py'), tmp_path], capture_output=True, text=True, timeout=900)
    assert r.returncode == 0 and 'results agree' in r.stdout, r.stderr[-3000:]
