"Rendered objects on the disk: every format written as a miniature, read back, and damaged in every way that was thought of."
import json, math, os, pickle, shutil, zipfile
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from featurenerf.cameras import Cameras, project, to_opencv
from featurenerf.layouts import (AuthorsData, LazyScenes, SceneFolder, StoredTeacher, SYNSETS, TransformsFolder, _npy_tables, _tables,
                                 check_id, fixed_pairs, hull_box, inside, open_scenes, read_npz, write_authors, write_scenes)
from featurenerf.meshes import SceneSet
from featurenerf.render_set import file_sha256, make_plan, render_set
from featurenerf.shapes import shapes

SYN = SYNSETS['chair']


@pytest.fixture(scope='module')
def chairs(): return shapes('chair', 'test', n_objects=20, n_views=4, size=32, n_jobs=1, progress=False)[:3]


@pytest.fixture(scope='module')
def written(chairs, tmp_path_factory):
    "A folder with the chairs in every layout."
    root = tmp_path_factory.mktemp('layouts')
    write_scenes(chairs, root/'ours')
    write_authors(chairs, root/'authors', [(0, 1, 2, 1), (1, 3, 0, 3), (1, 0, 1, 2)])
    for s in chairs: miniature_transforms(s, root/'nerf'/s.id)
    return root


@pytest.fixture
def copy(written, tmp_path):
    "The same, to be damaged."
    shutil.copytree(written, tmp_path/'w')
    return tmp_path/'w'


def miniature_transforms(scene, folder, split='transforms'):
    "NeRF's synthetic format to the letter: OpenGL axes, './<folder>/r_0' without the extension."
    (folder/'views').mkdir(parents=True, exist_ok=True)
    for v, im in enumerate(scene.rgba.numpy()): Image.fromarray(im).save(folder/'views'/f'r_{v}.png')
    frames = [dict(file_path=f'./views/r_{v}', rotation=.01, transform_matrix=m) for v, m in enumerate(scene.cameras.cam2world.tolist())]
    (folder/f'{split}.json').write_text(json.dumps(dict(camera_angle_x=2*math.atan(scene.cameras.size[1]/2/scene.cameras.focal[0, 0].item()), frames=frames)))


def miniature_authors(scene, root):
    "The authors' format as NumPy writes it, with whole pixels, without anything of ours."
    s, i = scene, scene.id
    for kind in ('camera', 'part_2d_anno', 'part_3d_anno', 'kp_2d_anno', 'kp_3d_anno', f'img/{SYN}/{i}', 'splits'): (root/kind/('' if '/' in kind or kind == 'splits' else SYN)).mkdir(parents=True, exist_ok=True)
    for v, im in enumerate(s.rgba.numpy()): Image.fromarray(im).save(root/'img'/SYN/i/f'{v:03d}.png')
    frames = [dict(file_path=f'{v:03d}.png', transform_matrix=m) for v, m in enumerate(to_opencv(s.cameras.cam2world).tolist())]
    (root/'camera'/SYN/f'{i}.json').write_text(json.dumps(dict(camera_angle_x=2*math.atan(s.cameras.size[1]/2/s.cameras.focal[0, 0].item()), frames=frames)))
    np.savez_compressed(root/'part_2d_anno'/SYN/f'{i}.npz', labels=s.parts.long().numpy())
    np.savez_compressed(root/'part_3d_anno'/SYN/f'{i}.npz', pts=s.points.double().numpy(), labels=s.point_parts.long().numpy())
    k = s.keypoint_mask.nonzero()[:, 0]
    np.savez_compressed(root/'kp_3d_anno'/SYN/f'{i}.npz', pts=s.keypoints[k].numpy(), labels=k.numpy())
    tables = np.empty(len(s), object)
    for v in range(len(s)): tables[v] = torch.cat([s.keypoint_uv[v][s.keypoint_visible[v]].floor(), s.keypoint_visible[v].nonzero()], 1).long().numpy()
    np.savez_compressed(root/'kp_2d_anno'/SYN/f'{i}.npz', labels=tables)
    (root/'splits'/f'{SYN}.json').write_text(json.dumps(dict(train=[], val=[], test=[i], valid_flags_for_test={i: True}, cross_inst_pairs=[], cross_view_pairs=[])))


def different(a, b, skip=()):
    "The first field in which two scenes differ, or ''."
    for k in sorted(set(a.__dataclass_fields__) - {'cameras', *skip}):
        x, y = getattr(a, k), getattr(b, k)
        if not (torch.equal(x.nan_to_num(-9), y.nan_to_num(-9)) and x.dtype == y.dtype if torch.is_tensor(x) else x == y): return k
    off = max((getattr(a.cameras, k) - getattr(b.cameras, k)).abs().max().item() for k in ('cam2world', 'focal', 'center'))
    return '' if off < 1e-6 and a.cameras.size == b.cameras.size else f'cameras {off}'


def keypoint_error(s):
    uv, _ = project(s.cameras, s.keypoints.nan_to_num().expand(len(s), -1, -1))
    return (uv - s.keypoint_uv)[s.keypoint_visible & s.keypoint_mask].abs().max().item()


# ---- round trips

def test_ours_comes_back_whole(written, chairs):
    got = LazyScenes(SceneFolder(written/'ours'), 'test')
    assert isinstance(got, SceneSet) and got.ids == [s.id for s in chairs] and torch.equal(got.box, chairs.box)
    assert [different(a, b) for a, b in zip(got, chairs)] == [''] * 3


def test_authors_comes_back(written, chairs):
    got = LazyScenes(AuthorsData(written/'authors'), 'test')
    assert [different(a, b, ['keypoint_uv']) for a, b in zip(got, chairs)] == [''] * 3
    for a, b in zip(got, chairs): assert (a.keypoint_uv - b.keypoint_uv)[:, b.keypoint_mask].abs().max() < 1e-3
    assert (got.box - chairs.box).abs().max() < 1e-6


def test_transforms_comes_back(written, chairs):
    got = open_scenes(written/'nerf', category='chair')
    assert [different(replace(a, bounds=None), replace(b, bounds=None, part_names=['object'], keypoint_names=[], **{k: getattr(a, k) for k in
            ('parts', 'depth', 'points', 'point_parts', 'keypoints', 'keypoint_mask', 'keypoint_uv', 'keypoint_visible')})) for a, b in zip(got, chairs)] == [''] * 3
    for a, b in zip(got, chairs): assert (a.bounds[0] < b.bounds[0] + .01).all() and (a.bounds[1] > b.bounds[1] - .01).all()


def test_authors_files_written_by_numpy(chairs, tmp_path):
    miniature_authors(chairs[0], tmp_path)
    s = AuthorsData(tmp_path, 'chair').read(chairs[0].id)
    assert s.part_names == [f'part {i}' for i in range(1, 1 + int(chairs[0].parts.max()))] and torch.equal(s.parts, chairs[0].parts)
    assert keypoint_error(s) <= .5                                      # to half a pixel, for the files hold whole ones
    assert torch.equal(s.keypoint_visible[:, :len(s.keypoint_names)], chairs[0].keypoint_visible[:, :len(s.keypoint_names)])


@pytest.mark.parametrize('kind', ['ours', 'authors'])
def test_keypoints_land_on_their_annotation(written, kind):
    for s in open_scenes(written/kind, 'test'): assert keypoint_error(s) < .5


def test_what_we_write_is_what_their_code_reads(written, chairs):
    "Their loader: allow_pickle, labels.tolist(), one array a view that torch.from_numpy takes."
    a = np.load(written/f'authors/kp_2d_anno/{SYN}/{chairs[0].id}.npz', allow_pickle=True)['labels'].tolist()
    rows = [torch.from_numpy(t).long() for t in a]
    uv, seen = chairs[0].keypoint_uv, chairs[0].keypoint_visible
    assert all(torch.equal(r[:, :2], uv[v][seen[v]].long()) and torch.equal(r[:, 2], seen[v].nonzero()[:, 0]) for v, r in enumerate(rows))
    raw = zipfile.ZipFile(written/f'authors/kp_2d_anno/{SYN}/{chairs[0].id}.npz').read('labels.npy')
    assert b'numpy.core.multiarray' in raw and b'numpy._core' not in raw # NumPy 1 cannot import the new name
    cam = json.loads((written/f'authors/camera/{SYN}/{chairs[0].id}.json').read_text())
    pose = torch.tensor(cam['frames'][2]['transform_matrix']) @ torch.diag(torch.tensor([1., -1, -1, 1]))
    assert (pose - chairs[0].cameras.cam2world[2]).abs().max() < 1e-6
    assert json.loads((written/f'authors/splits/{SYN}.json').read_text())['test'] == [s.id for s in chairs]


def test_splits(chairs, tmp_path):
    for i, split in enumerate(('train', 'val', 'test')): write_scenes(SceneSet([chairs[i]], chairs.name, 'chair', split), tmp_path)
    assert [open_scenes(tmp_path, s).ids for s in ('train', 'val', 'test')] == [[s.id] for s in chairs]
    with pytest.raises(ValueError, match="in the split 'train' already"): write_scenes(SceneSet([chairs[0]], chairs.name, 'chair', 'test'), tmp_path)
    with pytest.raises(ValueError, match='belongs to other data'): write_scenes(SceneSet([chairs[0]], chairs.name, 'table', 'train'), tmp_path)


def test_what_the_renderer_writes_is_read(tmp_path):
    import trimesh
    from featurenerf.shapes import make_shape
    (tmp_path/'m').mkdir()
    for i in range(2): m = make_shape('chair', i); trimesh.Trimesh(m.vertices, m.faces, process=False).export(tmp_path/f'm/chair ({i}).ply')
    render_set(make_plan(tmp_path/'m', 'chair', views=2, size=16, n_jobs=1), tmp_path/'m', tmp_path/'set', n_jobs=1)
    got = open_scenes(tmp_path/'set')
    assert len(got) == 2 and got.category == 'chair' and all(s.rgba.shape == (2, 16, 16, 4) and s.mask.sum() > 10 for s in got) and (got.box[1] > got.box[0]).all()


def test_views_of_one_object_are_split(chairs, tmp_path):
    for split in ('train', 'test'): miniature_transforms(chairs[0], tmp_path, f'transforms_{split}')
    assert open_scenes(tmp_path, 'test').ids == [f'{tmp_path.name}@test'] and len(open_scenes(tmp_path)[0]) == 8


# ---- training and evaluation

def test_fixed_pairs(written, chairs):
    from featurenerf import evaluation
    got = LazyScenes(AuthorsData(written/'authors'), 'test')
    assert list(evaluation.Pairs(**fixed_pairs(got))) == [(0, 1, 2, 1), (1, 3, 0, 3)] and list(evaluation.Pairs(**fixed_pairs(got, 'novel'))) == [(1, 0, 1, 2)]
    pairs, methods = evaluation.Pairs(**fixed_pairs(got)), dict(place=evaluation.PlaceMethod())
    ours, same = (evaluation.evaluate(methods, x, dict(same=pairs), tasks=('same',), progress=False) for x in (got, chairs))
    assert [list(v) for v in zip(*ours.pairs['2D same'].values())] == [list(v) for v in zip(*same.pairs['2D same'].values())]
    assert np.array_equal(ours.values['place']['2D same mIoU'], same.values['place']['2D same mIoU']) and len(ours.values['place']['2D same mIoU']) == 2


def test_stored_features_train_without_their_network(written, chairs, tmp_path):
    from featurenerf.runs import train_model
    from featurenerf.teachers import load_teacher
    shutil.copytree(written/'authors', tmp_path/'a'); guide = load_teacher('shapes')
    (tmp_path/'a/shapes_64'/SYN).mkdir(parents=True)
    for s in chairs: np.savez_compressed(tmp_path/f'a/shapes_64/{SYN}/{s.id}.npz', feats=guide(s.images()).numpy())
    data = open_scenes(tmp_path/'a', 'test')
    losses = [[r['loss'] for r in train_model(n, data, t, 'smoke', tmp_path, 'cpu', steps=2, rays=16, log_every=1)[1]] for n, t in (('net', guide), ('stored', StoredTeacher(data, 'shapes_64')))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    np.savez(tmp_path/f'a/shapes_64/{SYN}/{chairs[0].id}.npz', feats=np.zeros((2, 4, 3, 3)))
    with pytest.raises(ValueError, match='features of 2 views, expected 4'): StoredTeacher(data, 'shapes_64')


# ---- damage, each with its one clear error

def edit_json(path, change):
    d = json.loads(path.read_text()); change(d); path.write_text(json.dumps(d))


def edit_npz(path, **change):
    with np.load(path, allow_pickle=True) as z: a = {k: z[k] for k in z}
    np.savez_compressed(path, **{k: v(a[k]) for k, v in change.items()}, **{k: v for k, v in a.items() if k not in change})


def cut(path): path.write_bytes(path.read_bytes()[:len(path.read_bytes())//2])


class Runs:
    def __reduce__(self): return os.system, ('echo this must not run > /dev/null',)


def ours(root, what, id, fresh=True):
    "Damage, then correct fingerprints, so that the content itself must be noticed."
    d, m = root/'ours'/id, root/'ours/manifest.json'
    npz, put = d/'scene.npz', lambda i, v: lambda x: (np.put(x, i, v), x)[1]
    actions = {
        'no picture': lambda: (d/'rgba/001.png').unlink(), 'no arrays': npz.unlink, 'no manifest': m.unlink,
        'cut picture': lambda: cut(d/'rgba/001.png'), 'cut arrays': lambda: cut(npz), 'cut manifest': lambda: cut(m),
        'NaN camera': lambda: edit_npz(npz, cam2world=put(5, np.nan)), 'NaN depth': lambda: edit_npz(npz, depth=put(7, np.nan)),
        'NaN keypoint': lambda: edit_npz(npz, keypoints=lambda x: x*np.nan), 'unknown part': lambda: edit_npz(npz, parts=put(9, 77)),
        'unknown point part': lambda: edit_npz(npz, point_parts=put(0, 5)), 'fewer cameras': lambda: edit_npz(npz, cam2world=lambda x: x[:3], focal=lambda x: x[:3], center=lambda x: x[:3]),
        'fewer keypoints': lambda: edit_npz(npz, keypoints=lambda x: x[1:]), 'other size': lambda: edit_npz(npz, size=lambda x: x*2),
        'no pose': lambda: edit_npz(npz, cam2world=lambda x: 2*x), 'no cameras': lambda: edit_npz(npz, cam2world=lambda x: x[0, 0]),
        'object array': lambda: edit_npz(npz, parts=lambda x: np.array([Runs()], object)), 'grey picture': lambda: Image.new('L', (32, 32)).save(d/'rgba/001.png'),
        'small picture': lambda: Image.new('RGBA', (16, 32)).save(d/'rgba/001.png'), 'escaping file': lambda: edit_json(m, lambda j: j['objects'][id].update({'../../x.png': ''})),
        'escaping id': lambda: edit_json(m, lambda j: j['objects'].update({'../x': {}})), 'other format': lambda: edit_json(m, lambda j: j.update(format='zarr')),
        'names no list': lambda: edit_json(m, lambda j: j.update(part_names='leg')), 'objects no dict': lambda: edit_json(m, lambda j: j.update(objects=[1]))}
    actions[what]()
    if fresh and m.exists() and what not in ('cut manifest', 'escaping file', 'escaping id', 'objects no dict'):
        edit_json(m, lambda j: j['objects'][id].update({f: file_sha256(d/f) for f in j['objects'][id] if (d/f).exists()}))


OURS = {'no picture': '001.png does not exist', 'no arrays': 'scene.npz does not exist', 'no manifest': 'no format known', 'cut picture': '001.png cannot be read as a picture',
        'cut arrays': 'scene.npz cannot be read', 'cut manifest': 'manifest.json is no readable JSON', 'NaN camera': 'holds NaN', 'NaN depth': 'depth holds NaN',
        'NaN keypoint': 'NaN for its place', 'unknown part': 'unknown label 77, expected 0 to 4', 'unknown point part': 'unknown label 5', 'fewer cameras': '3 cameras, but .* lists 4',
        'fewer keypoints': r'keypoints has shape \(13, 3\), expected \(14, 3\)', 'other size': 'size is', 'no pose': 'no camera pose', 'no cameras': 'has shape',
        'object array': 'which is refused', 'grey picture': 'of mode L, expected RGBA', 'small picture': 'pictures of sizes', 'escaping file': 'leads out of the folder',
        'escaping id': 'no name of an object', 'other format': "of format 'zarr'", 'names no list': 'expected a list of names', 'objects no dict': 'expected an object of dicts'}


@pytest.mark.parametrize('what', OURS)
def test_damage_of_ours(copy, chairs, what):
    ours(copy, what, chairs[0].id)
    with pytest.raises((ValueError, FileNotFoundError), match=OURS[what]): open_scenes(copy/'ours', 'test')[0]


@pytest.mark.parametrize('what', ['cut picture', 'cut arrays', 'unknown part'])
def test_fingerprints_notice_damage_first(copy, chairs, what):
    ours(copy, what, chairs[0].id, fresh=False)
    with pytest.raises(ValueError, match='is not the file that was written'): open_scenes(copy/'ours', 'test')[0]


AUTHORS = {'no picture': '001.png does not exist', 'one picture more': '5 pictures, .* 4 cameras', 'cut picture': 'cannot be read as a picture', 'cut camera': 'no readable JSON',
           'cut parts': 'cannot be read', 'cut keypoints': 'cannot be read', 'NaN camera': 'holds NaN', 'a word for a matrix': 'expected numbers', 'NaN points': 'pts holds NaN',
           'unknown part': 'unknown label 9, expected 0 to 4', 'negative part': 'unknown label -1', 'unknown keypoint': r'unknown label \d+, expected 0 to 13', 'fewer tables': 'expected 4 tables',
           'fewer labels': r'shape \(2047,\), expected \(2048,\)', 'parts of other size': 'expected \\(4, 32, 32\\)', 'keypoint outside': 'outside the 32 x 32 pixels', 'code for a table': 'which is refused',
           'escaping picture': 'leads out of the folder', 'escaping id': 'no name of an object', 'no frames': 'expected a list of objects', 'no angle': 'no .*camera_angle_x', 'wide angle': 'expected an angle',
           'cut splits': 'no readable JSON', 'no split': "has no .*'val'", 'names no list': 'expected a list of names', 'half a table': 'has shape'}


def authors(root, what, id):
    path = lambda kind, ext='npz': root/'authors'/kind/SYN/f'{id}.{ext}'
    cam, split, img = path('camera', 'json'), root/'authors/splits'/f'{SYN}.json', root/'authors/img'/SYN/id
    frame = lambda **kw: lambda: edit_json(cam, lambda j: j['frames'][1].update(kw))
    def tables(change):
        rows = np.load(path('kp_2d_anno'), allow_pickle=True)['labels'].tolist()
        with zipfile.ZipFile(path('kp_2d_anno'), 'w') as z: z.writestr('labels.npy', _npy_tables(change(rows)))
    put = lambda i, v: lambda x: (x := x.astype(np.int64), np.put(x, i, v), x)[-1]
    actions = {
        'no picture': lambda: (img/'001.png').unlink(), 'one picture more': lambda: shutil.copy(img/'001.png', img/'009.png'), 'cut picture': lambda: cut(img/'001.png'), 'cut camera': lambda: cut(cam),
        'cut parts': lambda: cut(path('part_2d_anno')), 'cut keypoints': lambda: cut(path('kp_2d_anno')), 'NaN camera': frame(transform_matrix=(np.eye(4)*np.nan).tolist()),
        'a word for a matrix': frame(transform_matrix='identity'), 'NaN points': lambda: edit_npz(path('part_3d_anno'), pts=lambda x: x*np.nan),
        'unknown part': lambda: edit_npz(path('part_2d_anno'), labels=put(0, 9)), 'negative part': lambda: edit_npz(path('part_2d_anno'), labels=put(0, -1)),
        'unknown keypoint': lambda: tables(lambda r: [r[0] + [0, 0, 14], *r[1:]]), 'fewer tables': lambda: tables(lambda r: r[:3]), 'fewer labels': lambda: edit_npz(path('part_3d_anno'), labels=lambda x: x[1:]),
        'parts of other size': lambda: edit_npz(path('part_2d_anno'), labels=lambda x: x[:, ::2]), 'keypoint outside': lambda: tables(lambda r: [r[0] + [40, 0, 0], *r[1:]]),
        'code for a table': lambda: np.savez(path('kp_2d_anno'), labels=np.array([Runs()]*4, object)), 'escaping picture': frame(file_path='../../../../../etc/hostname'),
        'escaping id': lambda: edit_json(split, lambda j: j['test'].append('../../x')), 'no frames': lambda: edit_json(cam, lambda j: j.update(frames={})), 'no angle': lambda: edit_json(cam, lambda j: j.pop('camera_angle_x')),
        'wide angle': lambda: edit_json(cam, lambda j: j.update(camera_angle_x=4)), 'cut splits': lambda: cut(split), 'no split': lambda: edit_json(split, lambda j: j.pop('val')),
        'names no list': lambda: edit_json(root/'authors/labels'/f'{SYN}.json', lambda j: j.update(parts=7)), 'half a table': lambda: tables(lambda r: [r[0][:, :2], *r[1:]])}
    actions[what]()


@pytest.mark.parametrize('what', AUTHORS)
def test_damage_of_authors(copy, chairs, what):
    authors(copy, what, chairs[0].id)
    with pytest.raises((ValueError, FileNotFoundError), match=AUTHORS[what]): open_scenes(copy/'authors', 'test')[0]


def test_objects_without_cameras_are_left_out_aloud(copy, chairs):
    (copy/'authors/camera'/SYN/f'{chairs[1].id}.json').unlink()
    with pytest.warns(UserWarning, match='1 of 3 objects .* have no cameras'): got = open_scenes(copy/'authors', 'test')
    assert got.ids == [chairs[0].id, chairs[2].id]
    with pytest.raises(ValueError, match='not among the 2 objects'): fixed_pairs(got, 'novel')


PAIRS = {'no list': (lambda j: j.update(cross_inst_pairs=3), 'has no cross_inst_pairs'), 'no source': (lambda j: j['cross_inst_pairs'][0].pop('src'), 'expected an object with'),
         'view out of range': (lambda j: j['cross_inst_pairs'][0].update(view=4), 'view 4 of objects with 4 views'), 'view no number': (lambda j: j['cross_inst_pairs'][0].update(view='1'), "asks for view '1'"),
         'foreign id': (lambda j: j['cross_inst_pairs'][0].update(trg='x'), "asks for 'x'"), 'id no string': (lambda j: j['cross_inst_pairs'][0].update(trg=[1]), 'not among the 3')}


@pytest.mark.parametrize('what', PAIRS)
def test_damage_of_pairs(copy, what):
    edit_json(copy/f'authors/splits/{SYN}.json', PAIRS[what][0])
    with pytest.raises(ValueError, match=PAIRS[what][1]): fixed_pairs(open_scenes(copy/'authors', 'test'))


NERF = {'no picture': 'r_1.png does not exist', 'cut picture': 'cannot be read as a picture', 'no alpha': 'of mode RGB, expected RGBA', 'cut cameras': 'no readable JSON', 'NaN camera': 'holds NaN',
        'three rows': r'shape \(4, 3, 4\), expected', 'escaping picture': 'leads out', 'absolute picture': 'leads out', 'no frames': 'expected a list of objects', 'no lens': 'neither fl_x nor', 'bent lens': 'distorted',
        'other width': 'but the pictures are 32 x 32', 'other axes': 'are their axes right', 'one size more': 'pictures of sizes', 'scaled pose': 'no camera pose'}


def nerf(root, what, scene):
    d = root/'nerf'/scene.id; cam, png = d/'transforms.json', d/'views/r_1.png'
    change = lambda f: lambda: edit_json(cam, f)
    actions = {
        'no picture': png.unlink, 'cut picture': lambda: cut(png), 'no alpha': lambda: Image.open(png).convert('RGB').save(png), 'cut cameras': lambda: cut(cam),
        'NaN camera': change(lambda j: j['frames'][0].update(transform_matrix=(np.eye(4)*np.nan).tolist())), 'three rows': change(lambda j: [f.update(transform_matrix=f['transform_matrix'][:3]) for f in j['frames']]),
        'escaping picture': change(lambda j: j['frames'][0].update(file_path='../../x/r_0')), 'absolute picture': change(lambda j: j['frames'][0].update(file_path='/etc/passwd')),
        'no frames': change(lambda j: j.update(frames=[])), 'no lens': change(lambda j: j.pop('camera_angle_x')), 'bent lens': change(lambda j: j.update(k1=.1)), 'other width': change(lambda j: j.update(w=64)),
        'other axes': lambda: miniature_transforms(replace(scene, cameras=Cameras(to_opencv(scene.cameras.cam2world), scene.cameras.focal, scene.cameras.center, (32, 32))), d),
        'one size more': lambda: Image.new('RGBA', (16, 16)).save(png), 'scaled pose': change(lambda j: j['frames'][2].update(transform_matrix=np.diag([2., 2, 2, 1]).tolist()))}
    actions[what]()


@pytest.mark.parametrize('what', NERF)
def test_damage_of_transforms(copy, chairs, what):
    nerf(copy, what, chairs[0])
    with pytest.raises((ValueError, FileNotFoundError), match=NERF[what]): open_scenes(copy/'nerf')[0]


def test_unknown_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist'): open_scenes(tmp_path/'none')
    with pytest.raises(FileNotFoundError, match='it holds nothing'): open_scenes(tmp_path)
    (tmp_path/'poses').mkdir(); (tmp_path/'a.txt').touch()
    with pytest.raises(FileNotFoundError, match='it holds a.txt, poses/'): open_scenes(tmp_path)


def test_meshes_are_a_format_too(tmp_path):
    import trimesh
    from featurenerf.shapes import make_shape
    m = make_shape('chair', 0)
    trimesh.Trimesh(m.vertices, m.faces, process=False).export(tmp_path/'a.ply')
    got = open_scenes(tmp_path, n_views=2, render=dict(size=16, n_jobs=1), up='y')
    assert got[0].rgba.shape == (2, 16, 16, 4)


def test_other_cameras_cannot_be_written_in_the_authors_layout(chairs, tmp_path):
    s = chairs[0]; c = s.cameras
    for focal, center in ((c.focal*torch.tensor([1., 1.1]), c.center), (c.focal, c.center + 1)):
        with pytest.raises(ValueError, match='one focal length and the image'): write_authors(SceneSet([replace(s, cameras=Cameras(c.cam2world, focal, center, c.size))], 'x', 'chair', 'test'), tmp_path)


# ---- two photographs, the whole path

@pytest.mark.data
@pytest.mark.parametrize('name', ['chair', 'car'])
def test_photographs(name):
    "A chair with alpha, a white car on white: cut out, centred, encoded, rendered, on an untrained model."
    if not os.environ.get('FEATURENERF_SHARED'): pytest.skip('FEATURENERF_SHARED is not set')
    from featurenerf.in_the_wild import cut_out, reconstruct, turn
    from featurenerf.model import Config, FeatureNeRF
    path = Path(os.environ['FEATURENERF_SHARED'])/'images'/f'{name}.png'
    if name == 'car': assert Image.open(path).mode == 'RGB'
    a = np.asarray(cut_out(path))[..., 3] > 127
    assert .04 < a.mean() < .5 and not (a[0].any() or a[-1].any())
    model = FeatureNeRF(Config(feature_dim=4, hidden=16, encoder='small', encoder_weights='scratch', n_coarse=8, n_importance=2, n_depth=2))
    found = reconstruct(model, path, azimuth=30, size=32)
    rows, cols = (found.alpha > .5).nonzero().numpy().T
    assert abs(max(np.ptp(rows), np.ptp(cols)) + 1 - .6*32) <= 2 and abs((rows.min() + rows.max())/2 - 15.5) <= 1.5
    views = turn(model, found, [0, 90], names=('rgb', 'v_nerf', 'feature'))
    assert all(v['rgb'].shape == (32, 32, 3) and torch.isfinite(v['feature']).all() for v in views)


# ---- any input at all

hypothesis = pytest.importorskip('hypothesis')
from hypothesis import HealthCheck, given, settings, strategies as st
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
table = st.tuples(st.integers(0, 4), st.sampled_from(['<f4', '<f8', '<i8', '>i4', '|u1'])).map(lambda t: (np.arange(3*t[0]).reshape(-1, 3)).astype(t[1]))
values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3), max_leaves=6)


@FEW
@given(st.lists(table, max_size=4), st.sampled_from([2, 3, 4]))
def test_tables_are_what_numpy_reads(tables, protocol):
    import io
    a = np.empty(len(tables), object)
    for i, t in enumerate(tables): a[i] = t
    ours = _npy_tables(tables)
    theirs = np.load(io.BytesIO(ours), allow_pickle=True)
    for got in (theirs, _tables(pickle.dumps(a, protocol)), _tables(ours[ours.index(b'\n') + 1:])):
        assert len(got) == len(a) and all(np.array_equal(x, y) and x.dtype.newbyteorder('=') == y.dtype.newbyteorder('=') for x, y in zip(got, a))


@FEW
@given(st.data())
def test_damaged_bytes_give_one_kind_of_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp('bytes')/'a.npz'
    with zipfile.ZipFile(path, 'w') as z: z.writestr('labels.npy', _npy_tables([np.arange(6).reshape(2, 3), np.zeros((0, 3))])); z.writestr('pts.npy', b'')
    b = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))): b[data.draw(st.integers(0, len(b) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(b[:data.draw(st.integers(0, len(b)))]))
    try: read_npz(path, 'tables', 'labels')
    except ValueError as e: assert 'a.npz' in str(e)


@pytest.mark.parametrize('protocol', range(2, 6))
def test_no_pickle_runs(tmp_path, protocol):
    class Touch:
        def __reduce__(self): return os.system, (f'touch {tmp_path/"ran"}',)
    for x in (Touch(), [Touch()]):
        with pytest.raises(ValueError, match='asks to call .* refused'): _tables(pickle.dumps(x, protocol))
    assert not (tmp_path/'ran').exists()


def places(x, at=()):
    "Every place in a JSON value."
    yield at
    for k, v in (x.items() if isinstance(x, dict) else enumerate(x[:3]) if isinstance(x, list) else ()): yield from places(v, (*at, k))


@pytest.mark.parametrize('kind, file', [('ours', 'manifest.json'), ('authors', f'camera/{SYN}/ID.json'), ('authors', f'splits/{SYN}.json'), ('authors', f'labels/{SYN}.json'), ('nerf', 'ID/transforms.json')])
def test_any_json_is_read_or_refused(written, chairs, tmp_path, kind, file):
    root = tmp_path/kind
    shutil.copytree(written/kind, root)
    path = root/file.replace('ID', chairs[0].id); good = path.read_text()
    spots = sorted(places(json.loads(good)), key=str)

    @settings(max_examples=25 if kind == 'nerf' else 60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(spots), values)
    def damage(spot, value):
        d = json.loads(good)
        if spot:
            x = d
            for k in spot[:-1]: x = x[k]
            x[spot[-1]] = value
        else: d = value
        path.write_text(json.dumps(d))
        try:
            data = open_scenes(root, 'test' if kind != 'nerf' else 'all', 'chair')
            data[0]
            if 'splits' in file: fixed_pairs(data)
        except (ValueError, FileNotFoundError) as e: assert str(root) in str(e)
    damage()


@FEW
@given(st.text(max_size=12))
def test_paths_stay_inside(tmp_path_factory, text):
    root = tmp_path_factory.getbasetemp()
    try: p = inside(root, 'a', text)
    except ValueError: return
    assert (root/p).resolve().is_relative_to(root.resolve())
    try: check_id(text, 'x')
    except ValueError: return
    assert '/' not in text and text not in ('', '.', '..')
