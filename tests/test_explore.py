"The logic of the viewers without a browser: what is asked, what is remembered, what is written."
import gc, json, os, time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
import pytest, torch
from featurenerf.cameras import sphere_cameras
from featurenerf.evaluation import FieldMethod, PlaceMethod, image_sites
from featurenerf.explore import CorrespondenceViewer, Explorer, Look, NeRFViewer, Session, Settle, find, orbit_camera, orbit_of, overlay
from featurenerf.layouts import write_scenes
from featurenerf.matching import nearest_match, unit_features
from featurenerf.model import Config, FeatureNeRF
from featurenerf.shapes import make_shape, shapes
from featurenerf.teachers import load_teacher

NOTEBOOK = Path(__file__).parent.parent/'nbs'/'explore.ipynb'
widgets = pytest.mark.skipif(not all(map(find_spec, ('ipywidgets', 'plotly', 'anywidget'))), reason='ipywidgets, plotly or anywidget is not installed')


@pytest.fixture(scope='module')
def chairs(): return shapes('chair', 'test', n_objects=20, n_views=3, size=32, n_jobs=1, progress=False)


@pytest.fixture(scope='module')
def model(chairs): # untrained: its answers need not be good, they must be those of the library
    torch.manual_seed(0)
    return FeatureNeRF(Config(feature_dim=8, hidden=16, encoder='small', encoder_weights='scratch', box=chairs.box.tolist(), n_coarse=8, n_importance=2, n_depth=2)).eval()


@pytest.fixture
def ex(chairs, model): return Explorer(chairs, model, baseline=model, teacher=load_teacher('shapes'), methods={'place': PlaceMethod()})


def test_features(ex, chairs):
    assert ex.features == ['v_NeRF', 'v', 'NeRF feature', 'teacher', 'place']
    for f in ex.features:
        s = ex.see(Look(1, 2), f)
        assert torch.equal(s.where, image_sites(chairs[1], 2).where)
        assert torch.allclose(s.features, unit_features(ex.methods[f].pixel_features(chairs[1], 2, s.where)), atol=1e-6)
        assert ex.cloud(Look(1, 2), f, 50).features.shape[0] == 50


@pytest.mark.parametrize('feature', ['v_NeRF', 'v', 'teacher', 'place'])
def test_match_is_the_nearest_neighbour(ex, feature):
    source, targets = Look(0, 0), [Look(1, 1), Look(2, 2)]
    seen = ex.see(source, feature)
    for i in (0, len(seen.where) // 2, len(seen.where) - 1):
        for t, m in zip(targets, ex.match(source, seen.where[i], targets, feature)):
            j, best = nearest_match(seen.features[i:i + 1], ex.see(t, feature).features)
            assert m.index == int(j) and abs(m.similarity - float(best)) < 1e-5 and len(m.heat) == len(ex.see(t, feature).where)


def test_a_click_beside_the_object_takes_its_nearest_pixel(ex):
    where = ex.see(Look(0), 'v_NeRF').where
    _, i = ex.feature_at(ex.see(Look(0), 'v_NeRF'), (-100, -100))
    assert i == int((where + 100).norm(dim=-1).argmin())


def test_turned_like_the_photograph_is_the_photograph(ex, chairs):
    "Rendered from the photograph's own side, features are those of the photograph's pixels."
    look = Look(1, 0, orbit_of(chairs[1].cameras[0]))
    out = ex.see(look, 'v_NeRF'); own = ex.see(Look(1, 0), 'v_NeRF')
    key = lambda where: {tuple(x): i for i, x in enumerate(where.tolist())}
    a, b = key(out.where), key(own.where); both = sorted(set(a) & set(b))
    assert len(both) > 5
    assert torch.allclose(out.features[[a[k] for k in both]], own.features[[b[k] for k in both]], atol=1e-3)


def test_orbit_keeps_distance_and_focal_length():
    c = sphere_cameras(10., 20., radius=1.7, size=(32, 32))
    o = orbit_camera(c, (200, -30))
    assert torch.allclose(o.position.norm(), torch.tensor(1.7), atol=1e-5) and torch.equal(o.focal, c.focal)
    assert orbit_of(o) == pytest.approx((200, -30), abs=1e-3)


def test_other_methods_and_errors(ex, chairs, model):
    assert ex.resolve(Look(0, 0, orbit_of(chairs[0].cameras[2])), 'place') == Look(0, 2)
    with pytest.raises(ValueError, match='expected one of'): Session(ex, feature='dino')
    with pytest.raises(ValueError, match='object 9 does not exist'): Session(ex, 9)
    with pytest.raises(ValueError, match='nothing to compare'): Explorer(chairs)
    with pytest.raises(ValueError, match='same objects'): Explorer(chairs, model, pictures=list(chairs)[::-1])
    with pytest.raises(ValueError, match='turned look'): ex.sides(Look(0), 'v_NeRF', Look(1))


def test_brush(ex):
    s = Session(ex, 0, (1, 2), 'teacher')
    u, v = s.ex.see(s.source, 'teacher').where[0].tolist()
    s.paint([[u, v]], 2, .8)
    assert set(s.labels.unique().tolist()) == {0, 2}
    for t, labels in zip(s.targets, ex.transfer_brush(s.labels, s.source, s.targets, 'teacher')):
        there = ex.see(t, 'teacher'); own = ex.see(s.source, 'teacher')
        want = s.labels[own.where[:, 1].long(), own.where[:, 0].long()][nearest_match(there.features, own.features)[0]]
        assert torch.equal(labels, want)
    space = ex.transfer_brush(s.labels, s.source, s.targets, 'teacher', space=True)
    assert len(space[0]) == len(ex.cloud(s.targets[0], 'teacher').where)
    s.clear(); assert torch.equal(s.labels, ex.true_labels(s.source))
    other = Look(1); s.choose(source=other); s.paint([[u, v]], 1); s.choose(source=Look(0))
    assert torch.equal(s.labels, ex.true_labels(Look(0))) and s.paints[other].any(), 'paint belongs to its photograph'


def test_space(ex):
    s = Session(ex, 0, (1, 2))
    s.click_3d(1, 7)
    assert s.asked['look'] == Look(1) and s.asked['xyz'] == tuple(ex.cloud(Look(1), 'v_NeRF').where[7].tolist())
    flat, images = ex.query_3d(Look(1), 7, [Look(1), Look(2)], 'v_NeRF')
    assert flat[0].similarity == pytest.approx(1, abs=1e-5)
    assert [m.where for m in s.matches()] == [images[0].where, images[1].where]
    for show in ('similarity', 'features', 'parts'):
        s.show = show; xyz, colors, best = s.clouds()
        assert len(xyz) == len(colors) == 3000 and len(best) == 3 and 0 <= colors.min() and colors.max() <= 1
    assert torch.allclose(best[1], xyz[1007])
    with pytest.raises(ValueError, match='point -1 does not exist'): s.click_3d(0, -1)


def test_json_says_what_was_asked(ex, tmp_path):
    s = Session(ex, 0, (1, 2)); s.click(16, 16); s.turn(30, 10)
    d = json.loads(s.save(tmp_path/'deep'/'m.json').read_text())
    assert d['feature'] == 'v_NeRF' and d['source']['object'] == ex.scenes[0].id and [m['orbit'] for m in d['matches']] == [[30.0, 10.0]] * 2
    for m, t in zip(d['matches'], s.targets): assert m['uv'] == pytest.approx(find(s.query(), ex.see(t, 'v_NeRF')).where, abs=.01)
    from PIL import Image
    assert Image.open(s.save(tmp_path/'v.png')).size[0] > 600


def test_overlay_leaves_the_background_white():
    alpha = torch.zeros(16, 16); alpha[4:12, 4:12] = 1
    v, u = torch.nonzero(torch.nn.functional.avg_pool2d(alpha[None], 2)[0]).unbind(-1)
    out = overlay(torch.rand(16, 16, 3), alpha, torch.stack([u, v], -1) + .5, torch.rand(len(u), 3), (8, 8))
    assert torch.equal(out[alpha == 0], torch.ones_like(out[alpha == 0])) and torch.isfinite(out).all()


def test_scenes_without_labels_and_keypoints(ex, chairs, model):
    from dataclasses import replace
    bare = [replace(s, parts=torch.zeros_like(s.parts), point_parts=torch.zeros_like(s.point_parts), keypoint_visible=torch.zeros_like(s.keypoint_visible), part_names=[])
            for s in chairs]
    s = Session(Explorer(bare, model), 0, (1, 2))
    assert not s.labels.any() and len(s.keypoints()) == 0
    for s.show in ('similarity', 'features', 'parts'):
        for tool in ('point', 'brush', 'keypoints'): assert len(s.panels(tool)) == 3
    assert [p.title for p in s.ex.sides(Look(0, 0, (30, 20)), 'v', Look(1))] == ['colour', 'depth', 'features']


def test_memory_is_bounded_and_forgetting_changes_nothing(chairs, model):
    small, large = Explorer(chairs, model, cache_mb=.5), Explorer(chairs, model)
    for k in range(4):
        for v in range(3):
            a, b = (Session(e, k, (0, 1, 2)).choose(source=Look(k, v)) or e.see(Look(k, v), 'v_NeRF').features for e in (small, large))
            assert torch.allclose(a, b, atol=1e-5)
            assert small.cache.size <= .25 * 2**20 or len(small.cache.items) == 1


def test_settle_without_a_loop_is_full():
    calls = []; Settle(calls.append)(); assert calls == [False]


@widgets
def test_viewers(ex, tmp_path):
    v = CorrespondenceViewer(ex, 0, (1, 2), folder=tmp_path)
    touch = lambda w, **m: w._handle_custom_msg(m, [])
    touch(v.source_picture, type='point', uv=[14.5, 14.5])
    want = v.session.panels()
    assert [w.marks for w in (v.source_picture, *v.target_pictures)] == [p.marks for p in want]
    for name in ex.features[:4]: v.feature.value = name; assert v.session.feature == name
    v.feature.value = 'v_NeRF'; v.count.value = 4; assert len(v.session.targets) == 4 == len(v.grid.children)
    v.count.value = 1; v.first.value = 3; assert v.session.targets == [Look(3)]
    v.seen_as.value = 'turned'; v.azimuth.value = 77; assert v.session.targets[0].orbit[0] == 77
    v.feature.value = 'teacher'; assert 'photo' in v.target_pictures[0].title, 'a teacher cannot turn an object'
    assert v.save('json').name == 'matches-1.json' and v.save('json').name == 'matches-2.json'
    bundle = v._repr_mimebundle_(); assert 'image/png' in bundle and 'application/vnd.jupyter.widget-view+json' in bundle
    n = NeRFViewer(ex, 0, 1, folder=tmp_path)
    before = n.pictures[1].png; touch(n.pictures[3], type='turn', by=[90, 0]); assert n.pictures[1].png != before and n.azimuth.value == 120
    with pytest.raises(ValueError, match='no model that renders'): NeRFViewer(Explorer(ex.scenes, methods={'place': PlaceMethod()}))


@widgets
@pytest.mark.parametrize('kind, count', [('meshes', 2), ('meshes', 1), ('scenes', 3)])
def test_the_notebook_on_few_objects(kind, count, tmp_path, chairs):
    "nbs/explore.ipynb on a folder of one's own: meshes, or scenes that are rendered already; source and targets differ where they can."
    import trimesh
    if kind == 'scenes': write_scenes(chairs[:count], tmp_path/'own')
    else: (tmp_path/'own').mkdir()
    for i in range(count if kind == 'meshes' else 0):
        m = make_shape('chair', 3 + i); trimesh.Trimesh(m.vertices, m.faces, process=False).export(tmp_path/'own'/f'{i}.ply')
    cells = [c for c in json.loads(NOTEBOOK.read_text())['cells'] if c['cell_type'] == 'code']
    names = {}
    with pytest.warns(UserWarning, match='pictures of 32 pixels for a model trained on 64') if kind == 'scenes' else nullcontext():
        for c in cells:
            exec(''.join(c['source']), names)
            if 'parameters' in c['metadata'].get('tags', ()): names.update(data=str(tmp_path/'own'), size=48)
    v, me = names['viewer'].session, names['me']
    assert len(v.ex.scenes) == count and len(me.to_dict()['matches']) == max(count - 1, 1)
    assert count == 1 or v.source not in v.targets


def test_the_notebook_needs_points(tmp_path, chairs):
    from dataclasses import replace
    write_scenes(replace(chairs[:1], scenes=[replace(chairs[0], points=chairs[0].points[:0], point_parts=chairs[0].point_parts[:0])]), tmp_path)
    parameters, load = [''.join(c['source']) for c in json.loads(NOTEBOOK.read_text())['cells'] if c['cell_type'] == 'code'][:2]
    names = {}
    exec(parameters, names); names['data'] = str(tmp_path)
    with pytest.raises(ValueError, match='have no points on their surfaces'): exec(load, names)


@widgets
def test_a_failing_answer_does_not_block_the_next(ex):
    "The page waits for 'done' before it sends again; it must come after an error too."
    from featurenerf.explore import picture
    sent = []
    w = picture(lambda m: 1 / 0); w.send = sent.append
    try: w._handle_custom_msg(dict(type='point', uv=[1, 1]), [])
    except ZeroDivisionError: pass
    assert sent == [dict(type='done')]


def rss(): return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6


@widgets
@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='no /proc here')
def test_a_long_session_stays_small():
    "500 clicks across objects, photographs, sides and features: time a click, and memory. FEATURENERF_RESULTS: a JSON file to write them to."
    import statistics
    from featurenerf.runs import commit, hardware, write_json
    make = lambda size: shapes('chair', 'test', n_objects=60, n_views=6, size=size, n_jobs=1, progress=False)
    ex = Explorer(make(64), FeatureNeRF.from_pretrained('shapes-chair'), teacher=load_teacher('shapes'), pictures=make(192), cache_mb=64)
    v = CorrespondenceViewer(ex, 2, (3, 4, 5, 6)); s, n = v.session, len(ex.scenes)
    memory, first, again, matching = [], [], [], []
    def took(f): t = time.perf_counter(); f(); return (time.perf_counter() - t) * 1e3
    for k in range(500):
        targets = [Look((k // 5 + j) % n, (k // 7) % 6, (37 * (k // 25) % 360, 20) if k % 25 < 5 else None) for j in range(1, 5)]
        s.choose(ex.features[(k // 3) % 3], Look((k // 5) % n, (k // 11) % 6), targets)
        s.show = ('similarity', 'features', 'parts')[k % 3]
        uv = ex.see(s.source, s.feature).where[k * 31 % len(ex.see(s.source, s.feature).where)].tolist()
        touch = lambda: v.source_picture._handle_custom_msg(dict(type='point', uv=uv), [])
        first.append(took(touch)); again.append(took(touch)); matching.append(took(lambda: s.matches()))
        if k % 25 == 24: v.tabs.selected_index = 1; v.tabs.selected_index = 0
        if k % 50 == 49: gc.collect(); memory.append(round(rss(), 1))
    if path := os.environ.get('FEATURENERF_RESULTS'):
        import anywidget, ipywidgets, plotly
        quantiles = lambda x: dict(median=round(statistics.median(x), 2), p95=round(sorted(x)[int(.95 * len(x))], 2))
        old = json.loads(Path(path).read_text()) if Path(path).exists() else {}
        write_json(path, old | dict(
            command='FEATURENERF_RESULTS=results/explore.json pytest -n 0 -m slow tests/test_browser.py tests/test_explore.py', commit=commit(), hardware=hardware(),
            versions=dict(anywidget=anywidget.__version__, ipywidgets=ipywidgets.__version__, plotly=plotly.__version__),
            setting='4 targets, photographs of 64 pixels shown at 192, model shapes-chair, cache_mb=64', clicks=len(again), load=round(os.getloadavg()[0], 1),
            click_features_cached_ms=quantiles(again), click_first_time_ms=quantiles(first), matching_cached_ms=quantiles(matching), rss_mb_every_50_clicks=memory,
            cached_mb=round(sum(c.size for c in [ex.cache] + [m._renderer.renders for m in ex.methods.values() if isinstance(m, FieldMethod)]) / 2**20, 1)))
    assert ex.cache.size <= 32 * 2**20
    assert max(memory[4:]) - memory[3] < 60, f'memory grows: {memory} MB'
