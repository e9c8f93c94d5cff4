"The project as its users meet it: the main notebook through papermill, its outputs, the README's code, the wheel."
import json, os, re, subprocess, sys, venv
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SHARED = os.environ.get('FEATURENERF_SHARED')


def papermill(out, expect=0, **params):
    cmd = [str(BIN/'papermill'), '--cwd', 'nbs', 'nbs/train_chair.ipynb', str(out/'train_chair.ipynb'), '-p', 'preset', 'smoke', '-p', 'out_dir', str(out)]
    for k, v in params.items(): cmd += ['-y', json.dumps({k: v})] if isinstance(v, dict) else ['-p', k, str(v)]
    run = subprocess.run(cmd, cwd=ROOT, capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != 'MPLBACKEND'} | dict(OMP_NUM_THREADS='1'))
    assert (run.returncode == 0) == (expect == 0), run.stderr[-3000:]
    return run.stderr


OPTIONS = dict(train_options=dict(steps=28, clip=.5), model_options=dict(hidden=24))
same_worker = pytest.mark.xdist_group('chair')  # these share one run


@pytest.fixture(scope='module')
def chair(tmp_path_factory):
    out = tmp_path_factory.mktemp('chair')
    papermill(out, **OPTIONS)
    return out


@same_worker
def test_main_job_writes_what_it_promises(chair):
    m = json.loads((chair/'metrics.json').read_text())
    assert {'command', 'parameters', 'data', 'preset', 'commit', 'hardware', 'seconds', 'results', 'differences'} <= set(m)
    assert m['parameters']['seed'] == 0 and m['parameters']['preset'] == 'smoke' and m['hardware']['torch']
    assert all(m['parameters'][k] == v and f'-y "{k}: {v}"' in m['command'] for k, v in OPTIONS.items()) and m['history']['featurenerf']['step'] == 28
    run = json.loads((chair/'featurenerf'/'history.json').read_text())['run']
    assert run['train']['clip'] == .5 and run['model']['hidden'] == 24 and run['model']['image_size'] == 32
    scores = m['results']['metrics']
    assert {'teacher', 'NeRF feature', 'FeatureNeRF', 'FeatureNeRF, output v'} <= set(scores)
    for column in ('2D same mIoU', '2D different mIoU', '3D mIoU', '2D same kp@2.5', '3D kp@0.1'):
        for method in ('teacher', 'NeRF feature', 'FeatureNeRF'):
            s = scores[method][column]
            assert 0 <= s['pairs'][0] <= s['mean'] <= s['pairs'][1] <= 100
    text = (chair/'results.md').read_text()
    assert 'featurenerf-shapes' in text and 'ShapeNet, chair, the paper' in text and '76.55' in text
    nb = json.loads((chair/'train_chair.ipynb').read_text())
    pictures = sum('image/png' in o.get('data', {}) for c in nb['cells'] for o in c.get('outputs', []))
    plotly = sum('application/vnd.plotly.v1+json' in o.get('data', {}) for c in nb['cells'] for o in c.get('outputs', []))
    assert pictures >= 7 and plotly == 1


@same_worker
def test_model_loads_in_a_fresh_process_and_readme_code_runs(chair):
    code = re.findall(r'```python\n(.*?)```', (ROOT/'README.md').read_text(), re.S)[0]
    assert code.count("from_pretrained('shapes-chair')") == 1 and "'runs/chair/featurenerf'" in code
    code += "\nassert maps['rgb'].shape == (64, 64, 3) and field.sigma.shape == (1, len(chair.points))\n"
    own = code.replace("from_pretrained('shapes-chair')", f"from_pretrained({str(chair/'featurenerf')!r})")         # what the main job left, as the comment there says
    for c in (code, own): subprocess.run([sys.executable, '-c', c], cwd=ROOT, check=True)


@same_worker
def test_running_again_loads_and_gives_the_same_numbers(chair):
    before = json.loads((chair/'metrics.json').read_text())
    stamp = (chair/'featurenerf'/'model.safetensors').stat().st_mtime_ns
    papermill(chair, **OPTIONS)
    after = json.loads((chair/'metrics.json').read_text())
    assert (chair/'featurenerf'/'model.safetensors').stat().st_mtime_ns == stamp
    assert after['results']['metrics'] == before['results']['metrics']


@pytest.mark.parametrize('params, message', [
    (dict(preset='huge'), "expected 'auto' or one of"),
    (dict(category='chiar'), 'did you mean chair'),
    (dict(teacher='dino_vits9'), 'unknown name'),
    (dict(data='/no/such/folder'), 'does not exist'),
], ids=['preset', 'category', 'teacher', 'data'])
def test_bad_parameters_are_one_clear_error(tmp_path, params, message):
    assert message in papermill(tmp_path, expect=1, **params)


@pytest.mark.data
@pytest.mark.skipif(not SHARED, reason='FEATURENERF_SHARED is not set')
def test_real_meshes(tmp_path):
    papermill(tmp_path, category='car', test_data=f'{SHARED}/meshes')
    m = json.loads((tmp_path/'metrics.json').read_text())
    assert m['data']['test'].startswith('folder meshes') and '2D same mIoU' in m['results']['metrics']['FeatureNeRF']


@pytest.mark.slow
def test_a_single_object_is_judged_on_its_other_views(tmp_path):
    "One object has no partner: what needs a pair of objects is left out, nothing breaks."
    from featurenerf.shapes import shapes
    from featurenerf.layouts import write_scenes
    for split in ('train', 'test'):
        made = shapes('motorcycle', split, n_objects=10, n_views=4, size=32, n_jobs=1, progress=False)
        write_scenes(made[:1], tmp_path/split)
    (tmp_path/'out').mkdir()
    papermill(tmp_path/'out', category='motorcycle', data=tmp_path/'train', test_data=tmp_path/'test')
    m = json.loads((tmp_path/'out'/'metrics.json').read_text())
    assert m['data']['n_train'] == m['data']['n_test'] == 1
    assert '-p data train -p test_data test' in m['command']
    assert '2D novel mIoU' in m['results']['metrics']['FeatureNeRF'] and not any(c.startswith(('2D same', '3D')) for c in m['results']['metrics']['FeatureNeRF'])
    assert m['results']['metrics']['FeatureNeRF']['2D novel mIoU']['objects'] is None and 'too few' in (tmp_path/'out'/'results.md').read_text()


@pytest.mark.slow
def test_wheel_installs_alone(tmp_path):
    "Build the wheel, install it with its core dependencies only into a new environment: an object, the teacher, the model and the command are there."
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '-w', str(tmp_path), str(ROOT)], check=True)
    venv.create(tmp_path/'env', with_pip=True)
    python = tmp_path/'env'/'bin'/'python'
    subprocess.run([str(python), '-m', 'pip', 'install', '-q', str(next(tmp_path.glob('*.whl')))], check=True)
    code = ("from featurenerf.shapes import shapes; from featurenerf.teachers import load_teacher; from featurenerf.model import FeatureNeRF\n"
            "s = shapes('chair', 'test', n_objects=10, n_views=1, n_jobs=1)[0]; print(load_teacher('shapes')(s.images()).shape)\n"
            "FeatureNeRF.from_pretrained('shapes-chair')")
    subprocess.run([str(python), '-c', code], cwd=tmp_path, check=True)
    subprocess.run([str(tmp_path/'env'/'bin'/'featurenerf'), '--help'], cwd=tmp_path, check=True, capture_output=True)
