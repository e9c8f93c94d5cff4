"Editing, films and shipped models: what must hold for any model, checked on the shipped one with exact labels."
import os, subprocess, sys
from pathlib import Path
import numpy as np, pytest, torch
import torch.nn.functional as F
from featurenerf.cameras import sphere_cameras
from featurenerf.editing import feature_part, image_labels, nearest_l2, part_map, recolour, remove, seen_texture, surface_part, swap_texture, tint
from featurenerf.model import FeatureNeRF, shipped_models
from featurenerf.pictures import pca_colours, turntable
from featurenerf.shapes import shapes

ROOT = Path(__file__).parent.parent
torch.set_num_threads(1)


@pytest.fixture(scope='module')
def model(): return FeatureNeRF.from_pretrained('shapes-chair')

@pytest.fixture(scope='module')
def pair(model):
    "A source and a target with their encodings, seen from their first views."
    test = shapes('chair', 'test', n_objects=80, n_views=2, size=48, n_jobs=1, progress=False)
    def seen(s):
        with torch.no_grad(): return model.encode(s.images(views=[0])[None], s.cameras[None, :1])
    return [(s, seen(s)) for s in (test[12], test[14])]


def number(scene, name): return scene.part_names.index(name) + 1


@pytest.mark.parametrize('part', ['back', 'seat'])
def test_a_swap_changes_one_part_and_no_geometry(model, pair, part):
    (a, ca), (b, cb) = pair
    k = number(b, part)
    mine, theirs = (surface_part(s.points, s.point_parts, k) for s in (b, a))
    swap = swap_texture(mine, *seen_texture(model, ca, a.cameras[:2], theirs))
    for v in range(2):
        before, after = (model.render_image(b.cameras[v], cb, edit=e) for e in (None, swap))
        for q in ('depth', 'acc', 'v_nerf', 'feature'): assert torch.equal(before[q], after[q]), f'{q} changed in view {v}'
        change, share = (before['rgb'] - after['rgb']).abs().amax(-1), part_map(model, b.cameras[v], cb, mine)
        assert (change[share == 0] == 0).all() and (change <= share + 1e-5).all()
        on, off = b.parts[v] == k, (b.parts[v] > 0) & (b.parts[v] != k)
        assert change[on].mean() > .02, 'nothing was swapped'
        assert change[off].mean() < .15 * change[on].mean(), f'{part}, view {v}: {change[off].mean():.3f} elsewhere, {change[on].mean():.3f} on the part'


def test_a_swap_found_by_features_stays_mostly_on_the_part(model, pair):
    (a, ca), (b, cb) = pair
    k = number(b, 'seat')
    part = feature_part(*image_labels(model, ca, a.cameras[0], a.parts[0]), k)
    swap = swap_texture(part, *seen_texture(model, ca, a.cameras[:2], part))
    before, after = (model.render_image(b.cameras[0], cb, edit=e) for e in (None, swap))
    assert torch.equal(before['depth'], after['depth']) and torch.equal(before['acc'], after['acc'])
    change, on, off = (before['rgb'] - after['rgb']).abs().amax(-1), b.parts[0] == k, (b.parts[0] > 0) & (b.parts[0] != k)
    assert change[off].mean() < .5 * change[on].mean()


def test_colours_come_from_the_source(model, pair):
    (a, ca), (b, cb) = pair
    part = surface_part(b.points, b.point_parts, number(b, 'seat'))
    v, rgb = seen_texture(model, ca, a.cameras[:1])
    with torch.no_grad(): whole, new = (model.query(b.points[None], cb, edit=e) for e in (None, swap_texture(part, v, rgb)))
    inside = part(b.points, None) & (whole.sigma[0] > .01)
    i = torch.cdist(whole.values['v_nerf'][0, inside], v).argmin(1)
    assert (new.values['rgb'][0, inside] == rgb[i]).all(-1).float().mean() > .99   # ties may be broken differently
    assert torch.equal(new.values['rgb'][0, ~inside], whole.values['rgb'][0, ~inside]) and torch.equal(new.sigma, whole.sigma)


def test_removing_a_part(model, pair):
    _, (b, cb) = pair
    part = surface_part(b.points, b.point_parts, number(b, 'leg'))
    before, after = (model.render_image(b.cameras[0], cb, ('rgb',), edit=e) for e in (None, remove(part)))
    share = part_map(model, b.cameras[0], cb, part)
    assert (after['acc'][share > .95*before['acc'].clamp(min=.5)] < .5).all()
    assert (share > .5).sum() > 10 and after['acc'].sum() < before['acc'].sum()
    assert torch.equal(after['rgb'][before['acc'] == 0], before['rgb'][before['acc'] == 0])


def test_recolouring_keeps_geometry_and_hits_its_colour(model, pair):
    _, (b, cb) = pair
    k = number(b, 'back')
    part = surface_part(b.points, b.point_parts, k)
    before, after = (model.render_image(b.cameras[0], cb, edit=e) for e in (None, recolour(part, tint((.9, .1, .1)))))
    assert torch.equal(before['depth'], after['depth']) and torch.equal(before['acc'], after['acc'])
    on = (part_map(model, b.cameras[0], cb, part) > .9) & (b.parts[0] == k)
    r, g, _ = after['rgb'][on].unbind(-1)
    assert on.sum() > 20 and (r > 1.5*g).float().mean() > .9


def test_nearest_by_l2():
    q, k = torch.randn(100, 128)*3 + 10, torch.randn(500, 128)*3 + 10
    assert torch.equal(nearest_l2(q, k), torch.cdist(q.double(), k.double()).argmin(1))


def test_colours_are_the_same_in_every_frame():
    f = torch.randn(200, 16) @ torch.randn(16, 16)
    show = pca_colours(f)
    assert torch.equal(show(f[:50]), show(f)[:50])
    assert torch.allclose(pca_colours(f.flip(0))(f), show(f), atol=1e-3)


def test_turntable_of_an_edited_object(model, pair, tmp_path):
    from PIL import Image
    _, (b, cb) = pair
    red = recolour(surface_part(b.points, b.point_parts, number(b, 'back')), tint((1, 0, 0)))
    path = turntable(model, cb, tmp_path/'turn.gif', n=3, size=32, panels=('rgb', 'depth'), edit=red)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size) == (3, (68, 32))
        rgb = np.array(gif.convert('RGB')).astype(int)
    assert ((rgb[:, :32, 0] > rgb[:, :32, 1] + 60).sum()) > 10 and (rgb[0, 0] == 255).all()
    with pytest.raises(ValueError, match='gif or .mp4'): turntable(model, cb, tmp_path/'turn.avi', n=1, size=8, panels=('rgb',))


def test_shipped_models_load_without_a_network(tmp_path):
    "From another folder, with the hub switched off, by name; a wrong name says which there are, at once."
    code = ("import time; from featurenerf.model import FeatureNeRF, shipped_models\n"
            "for name in shipped_models(): assert not FeatureNeRF.from_pretrained(name).training\n"
            "t = time.perf_counter()\n"
            "try: FeatureNeRF.from_pretrained('shapes-chiar')\n"
            "except FileNotFoundError as e: print(e, time.perf_counter() - t < .5)")
    env = dict(os.environ, HF_HUB_OFFLINE='1', PYTHONPATH=str(ROOT))
    out = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert 'shapes-chiar: no such folder' in out and "'shapes-chair'" in out and out.strip().endswith('True')


def test_shipped_models_are_small_carded_and_in_the_package():
    assert 'shapes-chair' in shipped_models()
    files = [f for folder in shipped_models().values() for f in folder.iterdir()]
    assert sum(f.stat().st_size for f in files) < 15e6
    assert "'weights/*/*'" in (ROOT/'setup.py').read_text() and 'recursive-include featurenerf/weights' in (ROOT/'MANIFEST.in').read_text()
    for folder in shipped_models().values():
        assert {'config.json', 'model.safetensors', 'README.md'} == {f.name for f in folder.iterdir()}
        card = (folder/'README.md').read_text()
        for row in ('Commit', 'Seed', 'Data', 'Command', 'Teacher', 'Half precision agrees'): assert f'| {row} |' in card


def test_half_precision_is_the_same_model(tmp_path):
    "A model trained for a few steps, shipped by the script, against itself in full precision."
    from featurenerf.runs import train_model
    from featurenerf.teachers import load_teacher
    scenes = shapes('chair', 'train', n_objects=10, n_views=2, size=32, n_jobs=1, progress=False)
    full, _ = train_model('run', scenes, load_teacher('shapes'), 'smoke', tmp_path, 'cpu')
    cmd = [sys.executable, str(ROOT/'data_scripts'/'ship_model.py'), str(tmp_path/'run'), 'tiny', '--to', str(tmp_path/'shipped'), '--command', 'a test']
    assert 'half against full precision' in subprocess.run(cmd, capture_output=True, text=True, check=True, env=dict(os.environ, PYTHONPATH=str(ROOT))).stdout
    half = FeatureNeRF.from_pretrained(tmp_path/'shipped'/'tiny')
    assert (tmp_path/'shipped'/'tiny'/'model.safetensors').stat().st_size < .6*(tmp_path/'run'/'model.safetensors').stat().st_size
    cam = sphere_cameras(torch.tensor([[40.]]), torch.tensor([[20.]]), size=(32, 32))
    image, maps = scenes[0].images(views=[0])[None], []
    for m in (full.eval(), half):
        with torch.no_grad(): maps.append(m.render_image(cam[0, 0], m.encode(image, scenes[0].cameras[None, :1]), ('rgb', 'v_nerf')))
    x, y = maps
    assert -10*torch.log10((x['rgb'] - y['rgb']).square().mean()) > 45
    on = x['acc'] > .05
    assert F.cosine_similarity(x['v_nerf'][on], y['v_nerf'][on], dim=-1).min() > .999
    bad = subprocess.run(cmd[:2] + [str(tmp_path/'nothing'), *cmd[3:]], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert bad.returncode == 2 and 'holds no history.json' in bad.stderr
