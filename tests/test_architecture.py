"The house rules of the package: reading order, light imports, notebooks and library in step."
import ast, json, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
LIB = ROOT/'featurenerf'
# module -> position in reading order, from the notebooks' names
ORDER = {}
for nb in sorted((ROOT/'nbs').glob('[0-9]*.ipynb')):
    for cell in json.loads(nb.read_text())['cells']:
        src = ''.join(cell['source'])
        if src.startswith('#| default_exp'): ORDER[src.split()[2]] = len(ORDER)

FORBIDDEN = {'rendering': {'fields'}, 'fields': {'datasets', 'teachers'}, 'matching': {'model'}, 'metrics': {'model'}}
HEAVY = {'matplotlib', 'plotly', 'ipywidgets', 'anywidget', 'diffusers', 'transformers', 'timm', 'torchvision', 'trimesh', 'embreex', 'scipy', 'joblib'}


def imports(path):
    "(module, at top level) for every import of a file."
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names: yield a.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            yield ('featurenerf.' if node.level else '') + (node.module or ''), id(node) in top


@pytest.mark.parametrize('name', sorted(ORDER))
def test_reading_order(name):
    for module, top in imports(LIB/f'{name}.py'):
        if module.startswith('featurenerf.'):
            other = module.split('.')[1]
            assert ORDER[other] < ORDER[name], f'{name} imports {other}, which comes later'
            assert other not in FORBIDDEN.get(name, ()), f'{name} must not import {other}'
        root = module.split('.')[0]
        if top: assert root not in HEAVY, f'{name} imports {root} at the top; import it where it is used'
        if root in {'ipywidgets', 'plotly', 'anywidget'}: assert name == 'explore'
        if root in {'diffusers', 'transformers'}: assert name == 'diffusion'


def test_import_is_fast_and_light():
    code = ("import sys, time; import torch; t1 = time.process_time(); "
            f"import {', '.join('featurenerf.' + m for m in ORDER)}; t2 = time.process_time(); "
            "print(t2 - t1, ','.join(sys.modules))")
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    seconds, modules = out.split(maxsplit=1)
    loaded = {m.split('.')[0] for m in modules.strip().split(',')}
    assert not loaded & HEAVY, f'importing the library loads {sorted(loaded & HEAVY)}'
    assert float(seconds) < 4, f'importing the library takes {seconds} s of computing beyond torch'


def test_library_is_what_the_notebooks_export(tmp_path):
    import shutil
    assert {p.stem for p in LIB.glob('*.py')} - {'__init__', '_modidx'} == set(ORDER), 'a module that no notebook writes'
    for name in ('nbs', 'featurenerf', 'settings.ini', 'setup.py', 'README.md'):
        src = ROOT/name
        if src.is_dir(): shutil.copytree(src, tmp_path/name, ignore=shutil.ignore_patterns('__pycache__', 'runs', 'weights'))
        else: shutil.copy(src, tmp_path/name)
    subprocess.run(['git', 'init', '-q', '.'], cwd=tmp_path, check=True)
    run = subprocess.run([str(Path(sys.executable).parent/'nbdev_export')], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    for p in sorted(LIB.glob('*.py')):
        assert (tmp_path/'featurenerf'/p.name).read_text() == p.read_text(), f'{p.name} is not what the notebooks export; run nbdev_export'


def test_notebooks_are_clean():
    for p in (ROOT/'nbs').rglob('*.ipynb'):
        if '.ipynb_checkpoints' in p.parts or 'runs' in p.parts: continue
        assert p.stat().st_size < 3e6, f'{p} is too large'
        nb = json.loads(p.read_text())
        for i, c in enumerate(nb['cells']):
            assert set(c['metadata']) <= {'tags'}, f'{p} cell {i}: run nbdev_clean'
            if c['cell_type'] == 'code':
                assert c['execution_count'] is None, f'{p} cell {i}: run nbdev_clean'
                assert not any(o['output_type'] == 'error' for o in c['outputs']), f'{p} cell {i} holds an error'


@pytest.mark.parametrize('nb', sorted((ROOT/'nbs'/'experiments').glob('*.ipynb')), ids=lambda p: p.stem)
def test_experiments_take_parameters(nb):
    "papermill puts what it is given behind this cell; without it, at the top, where the defaults would win."
    tagged = [c for c in json.loads(nb.read_text())['cells'] if 'parameters' in c['metadata'].get('tags', [])]
    assert len(tagged) == 1 and tagged[0]['cell_type'] == 'code', f'{nb.name}: {len(tagged)} cells tagged parameters, expected one'
