"Fast and naive are one function; skipping keeps to its error; the benchmark runs; what it found is what the project promises."
import json, math, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
import pytest, torch

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT/'benchmarks'))
import speed
from naive import FORMS, SHORTCUTS
from featurenerf.cameras import sphere_cameras
from featurenerf.encoders import pixel_align
from featurenerf.model import FeatureNeRF, Config
from featurenerf.rendering import FieldOut, render_rays
from featurenerf.shapes import shapes
from featurenerf.skipping import density_grid, occupied_cells, skip_empty, skipping

torch.set_num_threads(1)
SMALL = dict(hidden=64, map=(32, 16), rays=40, objects=2, samples=(16, 4, 4))


@pytest.mark.parametrize('views', [1, 2])
@pytest.mark.parametrize('dtype,bound', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_naive_and_fast_are_one_function(views, dtype, bound):
    step = speed.Step(SMALL, 48, dtype=dtype, views=views)
    outputs, grads, _ = step.answers(())                                  # (small enough that no ReLU sits on its kink: see `agreement`)
    assert set(grads) == {'E', *dict(step.field.named_parameters())} and all(g.abs().max() > 0 for g in grads.values())
    for name, use in FORMS.items():
        for a, b in zip((outputs, grads), step.answers(use)):
            worst = speed.relative(a, b)
            assert worst['largest'] <= bound, f'{name}: {worst}'


@pytest.mark.parametrize('use', FORMS.values())
def test_a_relu_that_switches_is_seen(use):
    "Sides come in the naive form's order from every form; told them, the naive form has its gradients, and with one wrong it has not."
    step, relu = speed.Step(SMALL, 48), torch.nn.functional.relu
    _, naive = speed.watched(step, (), relu)
    (_, grads), sides = speed.watched(step, use, relu)
    assert all(torch.equal(a, b) for a, b in zip(naive, sides, strict=True))
    def told(sides): return speed.watched(step, (), lambda x, i=iter(sides): x*next(i))[0][1]
    assert speed.relative(told(sides), grads)['largest'] <= 1e-5
    sides[4] = sides[4].clone(); sides[4][0, 5, 3] ^= True              # one unit of the first layer, in the fine pass
    assert speed.relative(told(sides), grads)['largest'] > 1e-5


@pytest.mark.parametrize('views', [1, 2])
def test_maps_are_read_as_they_lie(model, views, monkeypatch):
    "The rows a lookup adds up lie together (a transposed view is read many times slower), and an encoded object's need no copy."
    tables, bag = [], torch.nn.functional.embedding_bag
    monkeypatch.setattr(torch.nn.functional, 'embedding_bag', lambda rows, table, **kw: tables.append(table) or bag(rows, table, **kw))
    cams = sphere_cameras(torch.arange(views)[None]*40., torch.zeros(1, views), size=(64, 64))
    with torch.no_grad():
        cond = model.encode(torch.rand(1, views, 3, 64, 64), cams); model.query(torch.zeros(1, 5, 3), cond)
        pixel_align(torch.rand(1, 8, 6, 6), torch.rand(1, 5, 2))
    assert len(tables) == 2 and all(t.is_contiguous() for t in tables)
    assert tables[0].data_ptr() == cond.maps.data_ptr()


def test_shortcuts_save_arithmetic_and_memory():
    step = speed.Step(SMALL, 48)
    seen = {k: speed.counts(lambda: step(use)) for k, use in FORMS.items()}
    for k, c in seen.items():
        if k not in ('naive', 'all three'):
            assert seen['all three']['flop'] < c['flop'] < seen['naive']['flop']
            assert seen['all three']['activation_bytes'] < c['activation_bytes'] < seen['naive']['activation_bytes']


@pytest.fixture(scope='module')
def model(): return FeatureNeRF.from_pretrained('shapes-chair')

@pytest.fixture(scope='module')
def chairs(model):
    with torch.no_grad(): return [model.encode(c.images(views=[0])[None], c.cameras[None, :1])
                                  for c in shapes('chair', 'test', n_objects=20, n_views=1, size=64, n_jobs=1, progress=False)]


@pytest.mark.parametrize('i', range(4))
def test_skipping_keeps_to_its_error(model, chairs, i):
    threshold, camera = .1, sphere_cameras(torch.tensor([60.*i]), torch.tensor([20.]), radius=2.2, fov=35., size=(64, 64))[0]
    samples = []
    def count(edit):
        def wrap(field):
            def counted(x, d): samples[-1] += x.shape[1]*x.shape[2]; return field(x, d)
            samples.append(0)
            return edit(counted)
        return wrap
    a, b = ({k: v for k, v in model.render_image(camera, chairs[i], edit=count(e), chunk=10**6).items()} for e in (lambda f: f, skipping(model, chairs[i], 32, threshold)))
    bound = 1 - math.exp(-threshold*(model.box[1] - model.box[0]).norm().item())
    diff = (a['rgb'] - b['rgb']).abs()
    assert diff.mean() < .005 and diff.max() < bound and (a['acc'] - b['acc']).abs().max() < bound
    solid, longest = a['acc'] > .5, a['v_nerf'].norm(dim=-1).max()
    assert (a['depth'] - b['depth'])[solid].abs().mean() < .01
    assert ((a['v_nerf'] - b['v_nerf']).norm(dim=-1)/longest).mean() < .01
    assert samples[1] < .7*samples[0], 'next to nothing was skipped'


def test_a_lower_threshold_is_nearer_and_none_is_exact(model, chairs):
    camera, grid = sphere_cameras(torch.tensor([40.]), torch.tensor([20.]), radius=2.2, fov=35., size=(32, 32))[0], density_grid(model, chairs[0], 24)
    plain = model.render_image(camera, chairs[0])
    worst = []
    for th in (-1., .001, .03, 1.):
        out = model.render_image(camera, chairs[0], edit=skip_empty(occupied_cells(grid, th), model.box))
        worst.append(max((plain[k] - out[k]).abs().mean().item() for k in ('rgb', 'v_nerf')))
    assert worst[0] < 1e-6 and worst == sorted(worst)


def test_outside_the_grid_everything_is_asked():
    box, far = torch.tensor([[-.5]*3, [.5]*3]), torch.tensor([[[[.9, 0, 0], [0, 0, -.6]]]])
    field = lambda x, d: FieldOut(torch.ones(x.shape[:-1]), dict(rgb=x))
    out = skip_empty(torch.zeros(1, 4, 4, 4, dtype=torch.bool), box)(field)(far, torch.ones(1, 1, 1, 3))
    assert torch.equal(out.values['rgb'], far) and (out.sigma == 1).all()


def test_two_fields_must_agree_that_a_cell_is_empty():
    torch.manual_seed(0)
    model = FeatureNeRF(Config.variant('official', hidden=16, depth=2, combine=1, encoder='small', encoder_weights='scratch', feature_dim=0, two_fields=True,
                                       n_coarse=8, n_importance=4, n_depth=4, encoder_norm='half'), load_encoder=False).eval()
    cam = sphere_cameras(torch.zeros(1, 1), torch.zeros(1, 1), size=(16, 16))
    with torch.no_grad(): cond = model.encode(torch.rand(1, 1, 3, 16, 16), cam)
    x = torch.stack(torch.meshgrid(*[torch.linspace(a, b, 4) for a, b in zip(*model.box.tolist())], indexing='ij'), -1).view(1, -1, 3)
    with torch.no_grad(): both = [model.query(x, cond, fine=f).sigma for f in (True, False)]
    assert torch.allclose(density_grid(model, cond, 3).flatten(), torch.maximum(*both).flatten(), atol=1e-5)


def test_the_benchmark_runs(tmp_path):
    out, parts = tmp_path/'quick.json', ['step', 'agree', 'render', 'profile', 'encoder', 'data']
    subprocess.run([sys.executable, ROOT/'benchmarks'/'speed.py', '--quick', '--out', out, '--parts', *parts], check=True, capture_output=True, cwd=tmp_path)
    record = json.loads(out.read_text())
    assert list(record) == parts
    for k, r in record.items():
        assert {'command', 'config', 'commit', 'hardware', 'date', 'torch', 'result'} <= set(r) and f'--parts {k}' in r['command']
    rows = record['step']['result']['D']['16']['losses on both passes']
    assert set(FORMS) <= set(rows) and all(rows[k]['cpu_s'] > 0 and 0 < rows[k]['peak_share'] < 1.5 for k in FORMS)
    maps = record['render']['result']
    for x in (maps['shipped chair model'], *(maps['paper-size field'][D] for D in ('16', '40'))):
        rows = x['rows']
        assert all(rows[k]['difference']['largest'] < 1e-5 and rows[k]['flop'] > rows['all three']['flop'] for k in FORMS if k != 'all three')
        assert rows['all three and skipping']['samples_a_ray'] < rows['all three']['samples_a_ray'] < rows['naive']['samples_a_ray']


def test_a_gpu_part_without_a_gpu_says_so(tmp_path):
    if torch.cuda.is_available(): pytest.skip('there is a GPU')
    with pytest.raises(SystemExit, match='needs a GPU'): speed.part_gpu(speed.SIZES['paper'], None)


def test_the_gpu_part_holds_together(monkeypatch):
    "Its code on a CPU, where it measures nothing: the part itself needs a GPU and has not been run on one."
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 0)
    monkeypatch.setattr(speed, 'interleaved', lambda forms, *a: {k: (f(), dict(s=1.))[1] for k, f in forms.items()})
    out = speed.part_gpu(dict(SMALL, dims=(24,), matmul=8, image=16), SimpleNamespace(device='cpu', compile=False))
    assert out['D']['24']['flop'] > 0 and out['D']['24']['all three, bf16']['hours_of_500k_steps'] == pytest.approx(500_000/3600)
    assert 0 < out['D']['24']['map']['rays'] <= out['D']['24']['map']['pixels'] == 256 and set(out['D']['24']['map']) > {'naive, fp32', 'all three, fp32', 'all three, bf16'}


def test_the_committed_measurements_meet_the_promise():
    r = {k: v['result'] for k, v in json.loads((ROOT/'results'/'speed'/'cpu.json').read_text()).items()}
    for D, least in (('384', 2.2), ('960', 2.7)):
        assert r['step']['D'][D]['losses on both passes']['all three']['speedup'] >= least
        for name, x in r['agree'][D].items():
            assert x['float32']['outputs']['largest'] <= 1e-5 and x['float32, SiLU']['gradients']['largest'] <= 1e-5 and x['float64']['gradients']['largest'] <= 1e-12, (D, name)
            single = x['float32']
            assert single['gradients, same sides']['largest'] <= 1e-5, f'{D}, {name}: gradients differ though every ReLU is on the same side'
            assert single['gradients']['largest'] <= 1e-5 or single['switched'][0] > 0, f'{D}, {name}: gradients differ, and no ReLU switched sides'
            assert single['switched'][1] > 10**7 and x['float64']['switched'][0] == 0, (D, name)
    for task in ('same', '3d'):
        e = r['evaluate'][task]
        assert e['pairs'] == 1000 and e['channels'] == 512 and e['cpu_s'] < 300 and e['peak_gb'] < 3


@pytest.mark.parametrize('D,least', [('384', 2.2), ('960', 2.7)])
def test_the_committed_rendering_meets_the_promise(D, least):
    r = json.loads((ROOT/'results'/'speed'/'cpu.json').read_text())['render']['result']
    x = r['paper-size field'][D]; rows, best = x['rows'], x['rows']['all three']
    assert x['D'] == int(D) and set(rows) >= {*FORMS, 'all three and skipping'} and ('all three, bf16' in rows) == r['bf16']
    assert all(rows[k]['difference']['largest'] <= 1e-5 for k in FORMS) and best['flop_ratio'] >= least
    assert all(best['speedup'] > rows[k]['speedup'] for k in FORMS if k != 'all three')
    assert min(best['speedup'], best['map_speedup']) >= least, f"{best['speedup']:.2f}, {best['map_speedup']:.2f}"
