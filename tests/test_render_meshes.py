"data_scripts/render_meshes.py as a user runs it: shards, kills, broken files, ShapeNet's two versions; Blender, PyTorch3D and Dask where they are installed."
import json, os, runpy, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest, torch
from featurenerf.cameras import fixed_cameras
from featurenerf.labels import first_faces, keypoint_views, part_maps
from featurenerf.layouts import SceneFolder
from featurenerf.meshes import render_views
from featurenerf.render_blender import blender_rgba, find_blender
from featurenerf.render_set import load_object, make_plan, render_object, render_set
from featurenerf.shapes import make_shape

SCRIPT = Path(__file__).parent.parent/'data_scripts'/'render_meshes.py'
SHARED = os.environ.get('FEATURENERF_SHARED')


def export(mesh, path, turn=np.eye(3)):
    "Write a mesh, one object a part, as seen in another frame."
    import trimesh
    scene = trimesh.Scene()
    for i, name in enumerate(mesh.part_names):
        f = mesh.faces[mesh.face_part == i + 1]
        if len(f):
            g = trimesh.Trimesh(mesh.vertices @ turn.T, f, process=False)
            g.remove_unreferenced_vertices()
            g.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.SimpleMaterial(diffuse=[60*i, 200 - 40*i, 90, 255], name=f'm{i}'))
            scene.add_geometry(g, node_name=name, geom_name=name)
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.export(path)


@pytest.fixture(scope='module')
def meshes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')/'chair'
    for i in range(4): export(make_shape('chair', 3 + i), folder/f'c{i}.glb')
    (folder/'broken.obj').write_text('v 0 0 0\nf 1 2 3\n')
    (folder/'points.ply').write_text('ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n')
    return folder.parent


def script(*args): return [sys.executable, str(SCRIPT), *map(str, args), '--category', 'chair', '--front', '-z', '--size', '32', '--views', '40', '--jobs', '1']


def test_killed_and_started_again(meshes, tmp_path):
    "Killed without warning in the middle, in two shards, or in one go: the same bytes."
    whole = render_set(make_plan(meshes/'chair', 'chair', views=40, size=32, front='-z', n_jobs=1), meshes/'chair', tmp_path/'whole', n_jobs=1)
    assert sorted(whole.made) == ['c0', 'c1', 'c2', 'c3'] and sorted(whole.broken) == ['broken', 'points']
    run = subprocess.Popen(script(meshes, tmp_path/'out'), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.time() + 120
    while not list((tmp_path/'out').glob('c*/object.json')) and run.poll() is None and time.time() < end: time.sleep(.01)
    run.send_signal(signal.SIGKILL); run.communicate()
    done = list((tmp_path/'out').glob('c*/object.json'))
    assert done and not (tmp_path/'out'/'manifest.json').exists(), 'killed too late to test anything'
    again = subprocess.run(script(meshes, tmp_path/'out'), capture_output=True, text=True)
    assert again.returncode == 2 and f'{len(done)} there already, 2 broken' in again.stdout and 'points: ValueError' in again.stdout, again.stdout + again.stderr
    assert (tmp_path/'out'/'manifest.json').read_bytes() == (tmp_path/'whole'/'manifest.json').read_bytes()
    for i in (1, 2): subprocess.run(script(meshes, tmp_path/'shards', '--shard', f'{i}/2'), capture_output=True)
    assert (tmp_path/'shards'/'manifest.json').read_bytes() == (tmp_path/'whole'/'manifest.json').read_bytes()
    assert not list((tmp_path/'out').glob('.tmp*'))


class Deadly:
    "An annotation on which its process is killed, as by the system when a mesh is too large for the memory."
    points = property(lambda self: os.kill(os.getpid(), signal.SIGKILL))


class DeadlyFor(dict): ids = property(list)


def test_killed_process_is_a_broken_mesh(meshes, tmp_path):
    "One mesh costs its process its life: it is named, and everything else is rendered, to the same bytes."
    plan = make_plan(meshes/'chair', 'chair', views=4, size=32, front='-z', n_jobs=1)
    whole = render_set(plan, meshes/'chair', tmp_path/'whole', n_jobs=1)
    r = render_set(plan, meshes/'chair', tmp_path/'out', sources=[DeadlyFor(c2=Deadly())], n_jobs=2)
    assert sorted(r.made + r.kept) == ['c0', 'c1', 'c3'] and r.broken == dict(whole.broken, c2='its process was killed, perhaps out of memory')
    a, b = (json.loads((tmp_path/d/'manifest.json').read_text()) for d in ('whole', 'out'))
    del a['objects']['c2']
    assert b['objects'] == a['objects'] and b['broken'] == r.broken and not list((tmp_path/'out').glob('.tmp*'))
    again = render_set(plan, meshes/'chair', tmp_path/'out', n_jobs=2)                    # with memory enough
    assert again.made == ['c2'] and (tmp_path/'out'/'manifest.json').read_bytes() == (tmp_path/'whole'/'manifest.json').read_bytes()


def test_every_field_comes_back(meshes, tmp_path):
    plan = make_plan(meshes/'chair', 'chair', views=3, size=32, front='-z', n_jobs=1)
    render_set(plan, meshes/'chair', tmp_path, n_jobs=1)
    folder = SceneFolder(tmp_path)
    assert sorted(folder.objects) == ['c0', 'c1', 'c2', 'c3'] and folder.part_names[-1] == 'other'
    a, b = folder.read('c1'), render_object(plan, *load_object(plan, meshes/'chair', 'c1'))
    for k in ('rgba', 'depth', 'parts', 'points', 'point_parts', 'keypoints', 'keypoint_mask', 'keypoint_uv', 'keypoint_visible', 'bounds'):
        assert torch.equal(getattr(a, k), getattr(b, k)) and getattr(a, k).dtype == getattr(b, k).dtype, k
    assert torch.allclose(a.cameras.cam2world, b.cameras.cam2world, atol=1e-6) and a.cameras.size == b.cameras.size
    assert (a.id, a.category, a.part_names, a.keypoint_names) == (b.id, b.category, b.part_names, b.keypoint_names)


def test_shapenet_versions_face_the_same_way(tmp_path):
    "v1 looks along +x and v2 along -z; rendered, they are the same chair; a model without a file is broken, not fatal."
    mesh = make_shape('chair', 19)
    export(mesh, tmp_path/'v2'/'03001627'/'1a'/'models'/'model_normalized.obj')
    export(mesh, tmp_path/'v1'/'03001627'/'1a'/'model.obj', np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]]))
    (tmp_path/'v2'/'03001627'/'2b').mkdir()
    scenes = []
    for v in ('v1', 'v2'):
        r = render_set(make_plan(tmp_path/v/'03001627', 'chair', views=2, size=48, n_jobs=1), tmp_path/v/'03001627', tmp_path/f'out-{v}', n_jobs=1)
        assert r.made == ['1a'] and list(r.broken) == ['2b'][:v == 'v2']
        scenes.append(SceneFolder(tmp_path/f'out-{v}').read('1a'))
    assert ((scenes[0].depth > 0) == (scenes[1].depth > 0)).float().mean() > .998
    assert (scenes[0].images() - scenes[1].images()).abs().mean() < .01
    true = render_views(mesh, fixed_cameras(2, (48, 48)))
    assert ((scenes[1].depth > 0) == (true.depth > 0)).float().mean() > .998


@pytest.mark.parametrize('args, said', [(['--shard', '0/2'], 'expected 1 <= I <= N'), (['--map', 'wheel'], 'expected PATTERN=PART'), (['--views', '0'], 'views is 0'),
                                        (['--map', 'whel=wheel'], "['whel'] match no node")])
def test_clear_errors(meshes, tmp_path, args, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [*script(meshes, tmp_path/'out')[1:], *args])
    with pytest.raises(SystemExit) as e: runpy.run_path(str(SCRIPT), run_name='__main__')
    assert e.value.code not in (0, None) and said in f'{e.value.code} {capsys.readouterr().err}'
    assert not (tmp_path/'out'/'manifest.json').exists()


@pytest.mark.skipif(not SHARED, reason='FEATURENERF_SHARED is not set: no real meshes here')
@pytest.mark.parametrize('category, parts', [('car', {'body', 'wheel'}), ('chair', {'wood', 'carpet', 'metal'}), ('motorcycle', {'body', 'fork', 'wheel'}), ('table', {'object'})])
def test_real_meshes(tmp_path, category, parts):
    folder = Path(SHARED)/'meshes'/category
    r = render_set(make_plan(folder, category, views=2, size=32, n_jobs=1), folder, tmp_path, n_jobs=1)
    data = SceneFolder(tmp_path)
    assert not r.broken and not r.warnings and len(r.made) == len(list(folder.glob('*.glb'))) and parts <= set(data.part_names)
    for id in data.objects:
        s = data.read(id)
        assert .03 < s.mask.mean() < .6 and (s.box[1] - s.box[0]).max().item() == pytest.approx(1, abs=1e-4)
        assert len(s.rgba[s.mask > .9][:, :3].unique(dim=0)) > 3   # not one flat colour


def test_pytorch3d_sees_the_same():
    "The paper's rasteriser and embree: 99.9% of pixels, and the keypoints."
    pytest.importorskip('pytorch3d', reason='PyTorch3D is not installed')
    cams = fixed_cameras(2, (128, 128))
    for category in ('chair', 'airplane'):
        m = make_shape(category, 3)
        assert (part_maps(m, cams, 'pytorch3d') == part_maps(m, cams, 'embree')).float().mean() >= .999
        (a, ta), (b, tb) = (first_faces(m, cams, n) for n in ('pytorch3d', 'embree'))
        assert (ta - tb)[(a >= 0) & (b >= 0)].abs().median() < 1e-5
        assert (keypoint_views(m, cams, 'pytorch3d')[1] == keypoint_views(m, cams, 'embree')[1]).float().mean() >= .98


def test_blender_sees_the_same():
    try: find_blender()
    except ImportError as e: pytest.skip(str(e))
    m, cams = make_shape('car', 3), fixed_cameras(2, (96, 96))
    a, b = blender_rgba(m, cams)[..., 3] > 127, render_views(m, cams).depth > 0
    assert ((a & b).sum((1, 2))/(a | b).sum((1, 2))).min() > .98


def test_dask_takes_over(meshes, tmp_path):
    "The same call, on a Dask cluster, by joblib's configuration alone."
    distributed = pytest.importorskip('distributed', reason='dask[distributed] is not installed')
    import joblib
    plan = make_plan(meshes/'chair', 'chair', views=2, size=16, front='-z', n_jobs=1)
    with distributed.LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster, distributed.Client(cluster), joblib.parallel_config(backend='dask'):
        r = render_set(plan, meshes/'chair', tmp_path)
    assert sorted(r.made) == ['c0', 'c1', 'c2', 'c3'] and json.loads((tmp_path/'manifest.json').read_text())['objects'].keys() == set(r.made)


@pytest.mark.parametrize('name', ['inspect_meshes', 'render_meshes'])
def test_axes(name, tmp_path):
    "Meshes with z up need --up z alone; wrong axes are one line that blames no file."
    turn = np.array([[-1., 0, 0], [0, 0, 1], [0, 1, 0]])   # ours to z up, front -y
    export(make_shape('chair', 3), tmp_path/'chair'/'a.obj', turn)
    run = lambda *args: subprocess.run([sys.executable, str(SCRIPT.with_name(f'{name}.py')), str(tmp_path/'chair'), *args], capture_output=True, text=True)
    out = [str(tmp_path/'out'), '--views', '1', '--size', '32', '--jobs', '1'] if name == 'render_meshes' else ['--out', str(tmp_path/'out.png')]
    bad = run(*out, '--up', 'z', '--front', 'z')
    assert bad.returncode == 1 and bad.stderr.startswith(f"{name}: up='z' and front='z'") and bad.stderr.count('\n') == 1, bad.stderr
    good = run(*out, '--up', 'z')
    assert good.returncode == 0, good.stdout + good.stderr
    if name == 'render_meshes':
        mesh = load_object(make_plan(tmp_path/'chair', up='z', n_jobs=1), tmp_path/'chair', 'a')[0]
        assert np.abs(np.sort(mesh.vertices, 0) - np.sort(make_shape('chair', 3).vertices, 0)).max() < 1e-4
