"Every notebook is a test: all cells run, except those flagged in settings.ini's tst_flags, and a warning that nobody expects is an error."
import os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p.relative_to(ROOT) for p in (ROOT/'nbs').rglob('*.ipynb')
                   if not any(s[0] in '._' for s in p.relative_to(ROOT).parts))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: str(p.with_suffix('').relative_to('nbs')))
def test_notebook(path, tmp_path):
    env = dict(os.environ, MPLBACKEND='agg', FEATURENERF_PRESET='smoke', FEATURENERF_OUT=str(tmp_path), OMP_NUM_THREADS='1',
               PYTHONWARNINGS='error::UserWarning,error::RuntimeWarning')              # ours and NumPy's; not what packages say about their own future
    run = subprocess.run([str(Path(sys.executable).parent/'nbdev_test'), '--path', str(path), '--n_workers', '0', '--do_print'],
                         cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-6000:]
