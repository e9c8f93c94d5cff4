"Readers of other people's data, on miniatures written to the letter of each format; the writers are those of the notebooks."
import ast, gzip, json, math, shutil
from pathlib import Path
import numpy as np, pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from featurenerf.annotations import (KeypointNet, PartNet, ShapeNet, ShapeNetPart, annotated_mesh, annotated_scenes, level1, load_json, read_numbers, read_pcd,
                                     shapenet_parts, tree_nodes, tree_objs)
from featurenerf.cameras import Cameras, look_at, project, sphere_cameras, to_pytorch3d
from featurenerf.labels import _turn        # this and PIL's Image: for the notebooks' functions
from featurenerf.layouts import LazyScenes
from featurenerf.meshes import render_views, surface_points
from featurenerf.photo_pairs import evaluate_pairs
from featurenerf.photos import CO3D, SPair, from_pytorch3d, object_frame, write_spair
from featurenerf.shapes import make_shape

NBS = Path(__file__).parent.parent/'nbs'
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def helpers(notebook):
    "Functions and lambdas that a notebook defines for its examples, without running it."
    out = dict(globals())
    for cell in json.loads((NBS/notebook).read_text())['cells']:
        src = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or '#| export' in src: continue
        for n in ast.parse(src).body:
            if isinstance(n, ast.FunctionDef) or isinstance(n, ast.Assign) and isinstance(n.value, (ast.Lambda, ast.Dict)) and isinstance(n.targets[0], ast.Name):
                exec(compile(ast.Module([n], []), notebook, 'exec'), out)
    return out


D, P = helpers('09d_annotations.ipynb'), helpers('09f_photos.ipynb')
CHAIRS = {f'chair{i}': make_shape('chair', i) for i in (19, 4)}
TO_PARTNET = dict(back='chair_back', seat='chair_seat', leg='chair_base', arm='chair_arm')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    "All miniatures."
    d = tmp_path_factory.mktemp('world')
    D['keypointnet_miniature'](d/'KeypointNet', CHAIRS)
    D['shapenetpart_miniature'](d/'part', CHAIRS, D['shapenetpart_frame'])
    D['partnet_miniature'](d/'data_v0', CHAIRS, D['partnet_frame'])
    for v in (1, 2): D['shapenet_miniature'](d/f'core{v}', CHAIRS, v)
    views = 8
    cams = sphere_cameras(torch.arange(views)*360/views, 15 + 20.*(torch.arange(views) % 3), radius=2.2, fov=44, size=(60, 80))
    truth = render_views(CHAIRS['chair19'], cams, antialias=2)
    Q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))[0]; Q = Q*torch.linalg.det(Q)
    to_world = lambda x: .3*(x @ Q.T) + torch.tensor([1., 2., -3.])
    moved = Cameras(cams.cam2world.clone(), cams.focal, cams.center, cams.size)
    moved.cam2world[:, :3, :3], moved.cam2world[:, :3, 3] = Q @ cams.cam2world[:, :3, :3], to_world(cams.position)
    for kind in ('ndc_isotropic', 'ndc_norm_image_bounds'): P['co3d_miniature'](d/kind, truth, moved, 'seq', kind=kind)
    scenes = [render_views(CHAIRS[c], cams[torch.tensor([0, 1])], seed=1) for c in CHAIRS]
    write_spair(d/'SPair', [(a, 0, b, 1) for a in scenes for b in scenes])
    return dict(root=d, truth=truth, to_world=to_world, up=Q[:, 1], scenes=scenes)


@pytest.fixture
def copy(world, tmp_path):
    "A copy of one miniature that a test may damage."
    def take(name):
        shutil.copytree(world['root']/name, tmp_path/name)
        return tmp_path/name
    return take


def edit(path, change):
    "Change a JSON file in place."
    data = json.loads(gzip.decompress(path.read_bytes()) if path.suffix == '.jgz' else path.read_text())
    data = change(data) or data
    path.write_bytes(gzip.compress(json.dumps(data).encode()) if path.suffix == '.jgz' else json.dumps(data).encode())

def lines(path, change): path.write_text('\n'.join(change(path.read_text().split('\n'))))


# --- what is right ---------------------------------------------------------------------------------------------------

def test_keypointnet(world):
    r = KeypointNet(world['root']/'KeypointNet', 'chair')
    assert r.ids == list(CHAIRS) and KeypointNet(r.root, 'chair', 'test').ids == ['chair4'] and r.synset == '03001627'
    for id, m in CHAIRS.items():
        shift, scale = D['v2_frame'](m)
        got = {m.keypoint_names[int(k.split()[1])]: x/scale + shift for k, x in r[id].keypoints.items()}
        assert got.keys() == m.keypoints.keys() and all(np.abs(got[k] - x).max() < 1e-5 for k, x in m.keypoints.items())


def test_shapenetpart(world):
    r = ShapeNetPart(world['root']/'part', 'chair', 'train')
    assert r.ids == ['chair19'] and r.part_names == ['back', 'seat', 'leg', 'arm']
    m = CHAIRS['chair19']; _, y = surface_points(m, 2500)
    assert [r.part_names[k-1] for k in r['chair19'].labels] == [D['TO_SHAPENETPART'].get(m.part_names[k-1], 'leg') for k in y]
    assert sum(len(shapenet_parts(n)[1]) for n in ('Airplane', 'Car', 'Chair', 'Motorbike', 'Table')) == 4 + 4 + 4 + 6 + 3


@pytest.mark.parametrize('tree', ['result.json', 'ori_id'])
def test_partnet(world, copy, tree):
    root = copy('data_v0')
    if tree == 'ori_id':                       # the raw tree is missing: the cleaned one says where its nodes come from
        for d in root.iterdir():
            (d/'result.json').unlink()
            def tie(t):
                ori = dict(chair=0, chair_back=1, chair_seat=4, chair_base=5, regular_leg_base=6, leg=7, chair_arm=8)
                for n in tree_nodes(t[0]): n['ori_id'] = ori[n['name']]
                t[0]['children'][0]['children'] = [dict(id=20 + k, ori_id=k, name='bar', objs=[f'new-{k-2}']) for k in (2, 3)]
            edit(d/'result_after_merging.json', tie)
            lines(d/'point_sample/label-10000.txt', lambda rows: ['8' if r == '9' else r for r in rows])
    r = PartNet(root, 'chair')
    m = CHAIRS['chair19']; _, y = surface_points(m, 10000); a = r['chair19']
    assert r.part_names == sorted(TO_PARTNET.values()) and len(a.points) == 10000
    for mine, theirs in TO_PARTNET.items():
        on = y == m.part_names.index(mine) + 1
        assert on.any() and (a.labels[on] == r.part_names.index(theirs) + 1).all()


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('parts', ['part', 'data_v0'])
def test_projected_keypoints_and_parts(world, version, parts):
    root = world['root']
    reader = ShapeNetPart(root/'part', 'chair') if parts == 'part' else PartNet(root/'data_v0', 'chair')
    m = annotated_mesh(ShapeNet(root/f'core{version}', 'chair'), 'chair19', reader, KeypointNet(root/'KeypointNet', 'chair'))
    cams = sphere_cameras(torch.tensor([20., 200.]), torch.tensor([30., 5.]), size=(128, 128))
    true, got = render_views(CHAIRS['chair19'], cams), render_views(m, cams)
    k = [int(n.split()[1]) for n in m.keypoints]
    assert len(k) == true.keypoint_mask.sum()
    assert (project(cams, got.keypoints[k].expand(2, -1, -1))[0] - true.keypoint_uv[:, k]).norm(dim=-1).max() < .5
    names = (D['TO_SHAPENETPART'] if parts == 'part' else TO_PARTNET)
    want = torch.tensor([0] + [m.part_names.index(names[n]) + 1 if n in names else 0 for n in CHAIRS['chair19'].part_names])[true.parts.long()]
    assert (got.parts == want)[want > 0].float().mean() > .95


def test_annotated_scenes_follow_the_lists(world):
    root = world['root']
    args = ShapeNet(root/'core2', 'chair'), ShapeNetPart(root/'part', 'chair'), KeypointNet(root/'KeypointNet', 'chair')
    s = annotated_scenes(*args, split='val', lists=dict(train=[], val=['chair4'], test=['gone']), n_views=2, size=24)
    assert isinstance(s, LazyScenes) and s.ids == ['chair4'] and len(s[0]) == 2 and s.keypoint_names == args[2].keypoint_names
    assert (s.box[1] - s.box[0]).max() < 1.1
    with pytest.raises(ValueError, match="the split 'val' of chair has no objects"):
        annotated_scenes(*args, split='val', lists=dict(train=['chair4'], val=[], test=[]))


@pytest.mark.parametrize('kind', ['ndc_isotropic', 'ndc_norm_image_bounds'])
def test_co3d(world, kind):
    r, truth = CO3D(world['root']/kind, 'chair', size=64), world['truth']
    entries, cams = r.frames('seq'); on = truth.keypoint_mask
    for i, c in enumerate(cams): assert (project(c, world['to_world'](truth.keypoints[on]))[0] - truth.keypoint_uv[i, on]).abs().max() < .5
    f = object_frame(cams, [torch.tensor(r.picture(e)[..., 3])/255. for e in entries])
    assert abs(f.edge/.3 - 1) < .08 and f.R[1] @ world['up'] > .9999
    assert (f.center - world['to_world'](torch.zeros(3))).norm()/.3 < .05
    s = LazyScenes(r)[0]
    assert s.rgba.shape == (8, 64, 64, 4) and abs((s.box[1] - s.box[0]).max() - 1) < .1
    iou = lambda a, b: (a & b).sum()/(a | b).sum()
    uv = project(s.cameras, s.points.expand(8, -1, -1))[0].floor().long().clamp(0, 63)             # the hull's points fall on the masks
    assert (torch.stack([s.mask[i, p[:, 1], p[:, 0]] for i, p in enumerate(uv)]) > .3).float().mean() > .75


def test_co3d_drops_cameras_that_flew_off(copy):
    root = copy('ndc_isotropic')
    edit(root/'chair/frame_annotations.jgz', lambda d: d[3]['viewpoint'].update(T=[8e16, 0., 1.]))
    assert [f['frame_number'] for f in CO3D(root, 'chair').frames('seq')[0]] == [0, 1, 2, 4, 5, 6, 7]


def test_co3d_set_lists(copy):
    root = copy('ndc_isotropic')
    path = root/'chair/set_lists/set_lists_fewview_dev.json'; path.parent.mkdir()
    path.write_text(json.dumps(dict(train=[['seq', i, f'frame{i}'] for i in (0, 2, 5)], val=[], test=[])))
    assert [f['frame_number'] for f in CO3D(root, 'chair', subset='fewview_dev').frames('seq')[0]] == [0, 2, 5]
    with pytest.raises(ValueError, match='lists no frame'): CO3D(root, 'chair', subset='fewview_dev', split='val')


def test_spair(world):
    pairs, (a, b) = SPair(world['root']/'SPair'), world['scenes']
    assert len(pairs) == 4 and len(SPair(world['root']/'SPair', category='chair')) == 4
    p = pairs[1]; k = [int(i) for i in p.ids]
    for side, s, v in ((0, a, 0), (1, b, 1)):
        assert (p.keypoints[side] - project(s.cameras[v], s.keypoints[k])[0]).abs().max() <= .5 + 1e-4
        x = (s.mask[v] > .5).nonzero().flip(1); assert p.boxes[side].tolist() == [*x.amin(0), *(x.amax(0) + 1)]
        assert (p.images()[side] - s.images(views=[v])[0]).abs().mean() < .02


def test_label_oracle_and_chance(world):
    pairs = [p for p in SPair(world['root']/'SPair')]
    def oracle_of(pair):                                       # a blob for each keypoint, at its place in each of the two images
        def blobs(keypoints, size):
            v, u = torch.meshgrid(*(torch.arange(n) + .5 for n in size), indexing='ij')
            return torch.stack([torch.full(size, .1)] + [torch.exp(-((u - x)**2 + (v - y)**2)/2) for x, y in keypoints])
        maps = iter([blobs(pair.keypoints[i], pair.sizes[i]) for i in (0, 1)])
        return lambda images: next(maps)[None]
    apart = [p for p in pairs if torch.cdist(p.keypoints[1], p.keypoints[1]).fill_diagonal_(99).min() > 4 and torch.cdist(p.keypoints[0], p.keypoints[0]).fill_diagonal_(99).min() > 4]
    assert apart
    for p in apart: assert evaluate_pairs([p], oracle_of(p), grid=80)['all']['PCK@0.1 box, per point'] == 100
    g = torch.Generator().manual_seed(0)
    chance = evaluate_pairs(pairs*25, lambda x: torch.randn(len(x), 8, 30, 40, generator=g), grid=40)
    disc = 100*np.mean([math.pi*(.1*p.box_size())**2/(p.sizes[1][0]*p.sizes[1][1]) for p in pairs])
    assert set(chance) == {'all', 'chair'} and abs(chance['all']['PCK@0.1 box, per point'] - disc) < 2


# --- what is wrong ---------------------------------------------------------------------------------------------------

NAN = float('nan')
OPEN = {   # how each miniature is read to the last byte
    'KeypointNet': lambda root: [KeypointNet(root, 'chair', s)[i] for s in ('train', 'test') for i in KeypointNet(root, 'chair', s).ids],
    'part': lambda root: [ShapeNetPart(root, 'chair', s)[i] for s in ('train', 'test') for i in ShapeNetPart(root, 'chair', s).ids],
    'data_v0': lambda root: [PartNet(root, 'chair')[i] for i in ('chair19', 'chair4')],
    'core2': lambda root: [ShapeNet(root, 'chair').mesh(i) for i in ShapeNet(root, 'chair').ids],
    'ndc_isotropic': lambda root: [CO3D(root, 'chair', size=16, n_views=4).read('seq')],
    'SPair': lambda root: [p.images() for p in SPair(root)],
}
ann, pcd = 'annotations/chair.json', 'pcds/03001627/chair19.pcd'
txt, tts = '03001627/chair19.txt', 'train_test_split/shuffled_train_file_list.json'
frame, pair = 'chair/frame_annotations.jgz', '000001-*.json'
kp0 = lambda d: d[0]['keypoints'][0]
view = lambda **kw: lambda d: d[0]['viewpoint'].update(kw)
BROKEN = [  # miniature, file, what happens to it (None: it is gone), what the error says
    ('KeypointNet', ann, None, 'does not exist'),
    ('KeypointNet', ann, lambda f: f.write_bytes(f.read_bytes()[:-40]), 'cut off'),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: kp0(d).update(xyz=[0, NAN, 0])), 'NaN'),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: kp0(d).update(xyz=[0, 1])), 'shape'),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: kp0(d).update(semantic_id=1)), 'there twice'),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: kp0(d).update(semantic_id='0')), "'semantic_id' is"),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: kp0(d)['pcd_info'].update(point_index=2048)), 'has 2048 points'),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: kp0(d)['pcd_info'].update(point_index=5)), 'expected the same place'),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: d[1].update(class_id='02958343')), 'class_id'),
    ('KeypointNet', ann, lambda f: f.write_text('[]'), 'lists no models'),
    ('KeypointNet', ann, lambda f: edit(f, lambda d: [e | dict(keypoints=[]) for e in d]), 'has a keypoint'),
    ('KeypointNet', pcd, None, 'does not exist'),
    ('KeypointNet', pcd, lambda f: lines(f, lambda r: r[:-9]), 'header says POINTS 2048'),
    ('KeypointNet', pcd, lambda f: lines(f, lambda r: r[:20] + ['0 nan 0 1'] + r[21:]), 'line 21: found 0 nan 0 1'),
    ('KeypointNet', pcd, lambda f: lines(f, lambda r: [x.replace('ascii', 'binary') for x in r]), 'DATA binary'),
    ('KeypointNet', 'splits/test.txt', lambda f: f.write_text('03001627-../../x'), 'expected lines <synset>-<model>'),
    ('KeypointNet', 'splits/test.txt', None, 'does not exist'),
    ('part', txt, None, 'does not exist'),
    ('part', txt, lambda f: f.write_bytes(f.read_bytes()[:-15]), 'expected 7'),
    ('part', txt, lambda f: lines(f, lambda r: ['0 0 nan 0 1 0 12'] + r[1:]), 'line 1'),
    ('part', txt, lambda f: lines(f, lambda r: [r[0], '0 0 0 0 1 0 47'] + r[2:]), 'line 2: label 47 is unknown; expected 12..15'),
    ('part', txt, lambda f: lines(f, lambda r: ['0 0 0 0 1 0 12.5'] + r[1:]), 'label 12.5'),
    ('part', txt, lambda f: f.write_text(''), 'found nothing'),
    ('part', 'synsetoffset2category.txt', None, 'does not exist'),
    ('part', 'synsetoffset2category.txt', lambda f: f.write_text('Airplane\t02691156\n'), 'does not list 03001627'),
    ('part', 'synsetoffset2category.txt', lambda f: f.write_text('Sofa\t03001627\n'), 'no category of ShapeNet-Part'),
    ('part', tts, lambda f: f.write_text('["shape_data/03001627/../../etc/x"]'), 'expected shape_data'),
    ('part', tts, lambda f: f.write_text('["shape_data/03001627/.."]'), 'expected shape_data'),
    ('part', tts, lambda f: f.write_text('["shape_data/0300'), 'cut off'),
    ('data_v0', '172/meta.json', None, 'does not exist'),
    ('data_v0', '172/meta.json', lambda f: edit(f, lambda d: d.pop('model_id') and None), "'model_id' is nothing"),
    ('data_v0', '172/result_after_merging.json', lambda f: f.write_bytes(f.read_bytes()[:-9]), 'cut off'),
    ('data_v0', '172/result_after_merging.json', lambda f: edit(f, lambda d: d + d), '2 roots'),
    ('data_v0', '172/result_after_merging.json', lambda f: edit(f, lambda d: d[0]['children'][0].pop('name') and None), "'name' is nothing"),
    ('data_v0', '172/result.json', lambda f: edit(f, lambda d: d[0].update(children='x')), "'children' is"),
    ('data_v0', '172/point_sample/label-10000.txt', lambda f: lines(f, lambda r: r[:-4]), 'has 9997 labels'),
    ('data_v0', '172/point_sample/label-10000.txt', lambda f: lines(f, lambda r: ['77'] + r[1:]), 'label 77 is no leaf'),
    ('data_v0', '172/point_sample/pts-10000.txt', lambda f: lines(f, lambda r: r[:5] + ['0 inf 0'] + r[6:]), 'line 6'),
    ('data_v0', '172/point_sample/pts-10000.txt', None, 'does not exist'),
    ('core2', '03001627/chair19/models/model_normalized.obj', None, 'has no mesh'),
    ('core2', '03001627/chair19/models/model_normalized.obj', lambda f: f.write_text('v 0 0 0\n'), 'chair19'),
    ('core2', '03001627/chair19/models/model_normalized.obj', lambda f: lines(f, lambda r: [x.replace('v ', 'v nan ', 1) if x.startswith('v ') else x for x in r]), 'chair19'),
    ('ndc_isotropic', frame, None, 'does not exist'),
    ('ndc_isotropic', frame, lambda f: f.write_bytes(f.read_bytes()[:-50]), 'is damaged'),
    ('ndc_isotropic', frame, lambda f: f.write_bytes(gzip.compress(b'[{"sequence_name": "seq"')), 'cut off'),
    ('ndc_isotropic', frame, lambda f: edit(f, lambda d: [x.update(mask=None) for x in d] and None), 'no frame with mask'),
    ('ndc_isotropic', frame, lambda f: edit(f, view(T=[NAN, 0, 0])), 'frame 0: T holds NaN'),
    ('ndc_isotropic', frame, lambda f: edit(f, view(R=[[2, 0, 0], [0, 2, 0], [0, 0, 2]])), 'expected a rotation'),
    ('ndc_isotropic', frame, lambda f: edit(f, view(R=[[-1, 0, 0], [0, 1, 0], [0, 0, 1]])), 'expected a rotation'),
    ('ndc_isotropic', frame, lambda f: edit(f, view(intrinsics_format='pixels')), "intrinsics_format is 'pixels'"),
    ('ndc_isotropic', frame, lambda f: edit(f, view(focal_length=[-1., 1.])), 'expected two numbers > 0'),
    ('ndc_isotropic', frame, lambda f: edit(f, lambda d: d[0]['image'].update(size=[60, 81])), 'says \\[60, 81\\]'),
    ('ndc_isotropic', frame, lambda f: edit(f, lambda d: d[0]['image'].update(path='../../../etc/passwd')), 'leads out'),
    ('ndc_isotropic', frame, lambda f: edit(f, lambda d: d[0]['mask'].update(path='/etc/passwd')), 'leads out'),
    ('ndc_isotropic', 'chair/seq/images/frame000001.jpg', None, 'does not exist'),
    ('ndc_isotropic', 'chair/seq/masks/frame000001.png', lambda f: f.write_bytes(f.read_bytes()[:60]), 'cannot be read as a picture'),
    ('SPair', pair, lambda f: f.write_bytes(f.read_bytes()[:-30]), 'cut off'),
    ('SPair', pair, lambda f: edit(f, lambda d: d.update(src_kps=d['src_kps'][1:])), 'shape'),
    ('SPair', pair, lambda f: edit(f, lambda d: d.update(trg_kps=[[NAN, 1]]*len(d['kps_ids']))), 'NaN'),
    ('SPair', pair, lambda f: edit(f, lambda d: d.update(trg_kps=[[81, 1]]*len(d['kps_ids']))), 'expected pixels of an image 80 wide'),
    ('SPair', pair, lambda f: edit(f, lambda d: d.update(src_bndbox=[9, 9, 3, 3])), 'left, top, right, bottom'),
    ('SPair', pair, lambda f: edit(f, lambda d: d.update(src_imname='../../../etc/passwd')), 'leads out'),
    ('SPair', pair, lambda f: edit(f, lambda d: d.update(kps_ids=['0']*len(d['kps_ids']) + ['0'])), 'each once'),
    ('SPair', pair, lambda f: edit(f, lambda d: d.update(trg_imsize=[60, 80, 3])), 'expected pixels|says'),
    ('SPair', 'JPEGImages/chair/chair-0-00019_0.jpg', None, 'does not exist'),
    ('SPair', 'JPEGImages/chair/chair-0-00019_0.jpg', lambda f: f.write_bytes(f.read_bytes()[:300]), 'cannot be read as a picture'),
]


@pytest.mark.parametrize('i', range(len(BROKEN)), ids=lambda i: f'{BROKEN[i][0]}-{BROKEN[i][3][:20]}')
def test_broken(copy, i):
    name, file, damage, says = BROKEN[i]
    root = copy(name)
    path = next(root.rglob(file))
    path.unlink() if damage is None else damage(path)
    with pytest.raises((ValueError, FileNotFoundError), match=says) as e: OPEN[name](root)
    assert str(root) in str(e.value) or 'chair19' in str(e.value)                                                  # it says where


def test_every_format_has_five_corruptions():
    assert all(sum(b[0] == n for b in BROKEN) >= 5 for n in OPEN if n != 'core2')


def test_a_model_id_cannot_lead_out(copy):
    root = copy('KeypointNet')
    edit(root/ann, lambda d: d[0].update(model_id='../../../x'))
    r = KeypointNet(root, 'chair')
    with pytest.raises(ValueError, match='leads out'): r['../../../x']
    for reader in (ShapeNetPart(copy('part'), 'chair'), ShapeNet(copy('core2'), 'chair')):
        with pytest.raises(ValueError, match='leads out'): reader.path('../../../../x') if isinstance(reader, ShapeNet) else reader['../../../../x']


# --- anything --------------------------------------------------------------------------------------------------------

numbers = st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3), min_size=1, max_size=20)

@few
@given(rows=numbers)
def test_numbers_come_back(rows, tmp_path):
    f = tmp_path/'a.txt'; f.write_text('\n'.join(' '.join(map(repr, r)) for r in rows) + '\n')
    assert (read_numbers(f, 3, 'x y z') == np.array(rows)).all()


def only_clear_errors(path, read):
    "Whatever is in the file, reading it gives a value or one error that names it."
    try: return read(path)
    except (ValueError, FileNotFoundError) as e: assert str(path) in str(e)


@few
@given(data=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda t: t.encode('utf-8', 'surrogatepass'))))
def test_any_bytes(data, tmp_path):
    f = tmp_path/'x.txt'; f.write_bytes(data)
    for read in (lambda p: read_numbers(p, 3, 'x'), lambda p: load_json(p, 'x'), lambda p: load_json(p, 'x', dict), read_pcd): only_clear_errors(f, read)


@few
@given(cut=st.integers(0, 1500), junk=st.binary(max_size=6), what=st.sampled_from([('KeypointNet', pcd), ('KeypointNet', ann), ('part', txt), ('data_v0', '172/result.json'), ('data_v0', '172/meta.json'), ('SPair', pair)]))
def test_bytes_overwritten(world, cut, junk, what, tmp_path_factory):
    "A few bytes of a file are others: right values or one clear error."
    name, file = what
    source = next((world['root']/name).rglob(file)); good = source.read_bytes(); at = cut % len(good)
    try:
        source.write_bytes(good[:at] + junk + good[at + len(junk):])
        try: OPEN[name](world['root']/name) if name == 'SPair' else small_read(name, world['root']/name)
        except (ValueError, FileNotFoundError, KeyError) as e: assert len(str(e)) > 10
    finally: source.write_bytes(good)


def small_read(name, root):
    "One object of a miniature."
    if name == 'KeypointNet': return KeypointNet(root, 'chair')['chair19']
    if name == 'part': return ShapeNetPart(root, 'chair')['chair19']
    return PartNet(root, 'chair', ['172'])['chair19']


json_values = st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(-5, 5), lambda c: st.lists(c, max_size=4) | st.dictionaries(
    st.sampled_from(['id', 'name', 'children', 'objs', 'viewpoint', 'R', 'T', 'image', 'size', 'path', 'mask', 'category', 'kps_ids', 'src_kps', 'src_imsize', 'sequence_name', 'frame_number']), c, max_size=5), max_leaves=12)

@few
@given(value=json_values)
def test_any_json(value, tmp_path):
    "A file with valid JSON of any shape."
    (tmp_path/'annotations').mkdir(exist_ok=True); (tmp_path/'chair').mkdir(exist_ok=True); (tmp_path/'PairAnnotation/test').mkdir(parents=True, exist_ok=True); (tmp_path/'data/1').mkdir(parents=True, exist_ok=True)
    text = json.dumps(value).encode()
    (tmp_path/'annotations/chair.json').write_bytes(text); (tmp_path/'PairAnnotation/test/1-a-b:chair.json').write_bytes(text)
    (tmp_path/'chair/frame_annotations.jgz').write_bytes(gzip.compress(text))
    (tmp_path/'data/1/meta.json').write_text('{"model_id": "a", "model_cat": "Chair"}'); (tmp_path/'data/1/result_after_merging.json').write_bytes(text)
    for read in (lambda: KeypointNet(tmp_path, 'chair'), lambda: SPair(tmp_path)[0], lambda: CO3D(tmp_path, 'chair').frames('seq'), lambda: PartNet(tmp_path/'data', 'chair')):
        try: read()
        except (ValueError, KeyError) as e: assert len(str(e)) > 10


@few
@given(seed=st.integers(0, 10_000), H=st.integers(8, 300), W=st.integers(8, 300), f=st.floats(.5, 5), cx=st.floats(-.4, .4), cy=st.floats(-.4, .4))
def test_cameras_there_and_back(seed, H, W, f, cx, cy):
    eye = torch.nn.functional.normalize(torch.randn(1, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)*3
    cam = Cameras(look_at(eye, up=(.1, 1, .2)), f*max(H, W), (W*(.5 + cx), H*(.5 + cy)), (H, W))
    R, T, focal, pp = to_pytorch3d(cam); s = min(H, W)/torch.tensor([float(W), float(H)])
    x = torch.rand(1, 7, 3, generator=torch.Generator().manual_seed(seed))*.6 - .3
    for got in (from_pytorch3d(R, T, focal, pp, (H, W)), from_pytorch3d(R, T, focal*s, pp*s, (H, W), 'ndc_norm_image_bounds')):
        assert (project(got, x)[0] - project(cam, x)[0]).abs().max() < 2e-3*max(H, W, f*max(H, W))/100 + 1e-3


trees = st.recursive(st.builds(lambda o: dict(objs=[o]), st.text('ab', min_size=1, max_size=3)), lambda c: st.builds(lambda k: dict(children=k), st.lists(c, min_size=1, max_size=3)), max_leaves=10)

@few
@given(t=trees)
def test_level1_covers_the_tree(t):
    parts = level1([t])
    assert set().union(*map(tree_objs, parts)) == tree_objs(t) and all(p in list(tree_nodes(t)) for p in parts)
    assert len(parts) > 1 or not parts[0].get('children')
