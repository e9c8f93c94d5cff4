"""Damaged files: a valid miniature of every format, random damage to one of its files, then it is read.

What may happen: it is read, or one ValueError or FileNotFoundError that says which file. Never another error, never more than
a gigabyte or 20 seconds, never a file opened for writing or outside of the miniature, never a pickled function looked up.
FEATURENERF_FUZZ=2000 sets how often each format is damaged; `-m slow` runs that."""
import gzip, io, json, os, random, re, resource, shutil, signal, struct, sys, traceback, warnings, zipfile, zlib
from pathlib import Path
import numpy as np, pytest, timm, torch                    # timm here, since PyTorch makes a folder for compiled code when it is first imported
from PIL import Image
import test_annotations as notes, test_layouts as layouts
from featurenerf.annotations import KeypointNet, PartNet, ShapeNet, ShapeNetPart
from featurenerf.cameras import sphere_cameras
from featurenerf.datasets import load_image, read_meshes
from featurenerf.evaluation import Results
from featurenerf.experiments import cell_path, read_cells
from featurenerf.in_the_wild import cut_out
from featurenerf.layouts import AuthorsData, LazyScenes, SceneFolder, StoredTeacher, TransformsFolder, fixed_pairs, write_authors, write_scenes
from featurenerf.meshes import SceneSet, render_views
from featurenerf.model import Config, FeatureNeRF
from featurenerf.photos import CO3D, SPair, write_spair
from featurenerf.pretrained import read_weights
from featurenerf.render_set import file_sha256
from featurenerf.shapes import make_shape
from featurenerf.teachers import Cached, ColorPosition, fit_standardize, load_projection, load_teacher, save_projection
from featurenerf.training import load_checkpoint, save_checkpoint

SYN, IDS = layouts.SYN, ('chair19', 'chair4')


# ---- damage

NUMBERS = [b'0', b'-1', b'1e999', b'-1e38', b'NaN', b'Infinity', b'null', b'99999999999', b'4294967296', b'1.5', b'""', b'[]', b'{}', b'true', b'1e-320', b'255']
VALUES = [None, True, -1, 0, 1.5, 1e400, float('nan'), 2**31, 2**63, 10**400, '', 'x', '../../x', '/etc/passwd', '\0', 'a'*300, '\ud800', [], {}, [[]], [None], {'x': 1}, [1, 2, 3], [[1.]*4]*4]

def damage_bytes(b, r):
    "A few bytes are others, gone, doubled or too many; or a number is another one."
    b = bytearray(b)
    def spot(n=1):                                         # formats are decided at the ends of a file
        end = max(1, len(b) - n)
        return r.choice([r.randrange(end), r.randrange(min(end, 300)), max(0, end - 1 - r.randrange(min(end, 300)))])
    for _ in range(r.choice([1, 1, 1, 2, 5])):
        if not b: break
        kind, i, n = r.randrange(8), spot(), r.choice([1, 2, 4, 8, 40])
        if kind == 0: b[i] ^= 1 << r.randrange(8)
        elif kind == 1: b[i:i + n] = r.randbytes(n)
        elif kind == 2: b[i:i] = r.randbytes(n)
        elif kind == 3: del b[i:i + n]
        elif kind == 4: b[i:i] = b[i:i + n*10]
        elif kind == 5: del b[i:]
        elif kind == 6: b[i:i + 4] = struct.pack(r.choice('<>') + 'I', r.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**24]))
        elif numbers := list(re.finditer(rb'-?\d+(\.\d+)?(e-?\d+)?', bytes(b[:100_000]))): m = r.choice(numbers); b[m.start():m.end()] = r.choice(NUMBERS)
    return bytes(b)

def damage_json(b, r):
    "One value of a JSON file is another, or gone."
    d = json.loads(b); x, depth = d, r.randrange(1, 9)
    for _ in range(depth):
        k = r.choice(list(x) if isinstance(x, dict) else range(len(x))) if isinstance(x, (dict, list)) and x else None
        if k is None: break
        last, key, x = x, k, x[k]
    if not d: return b'[0]'
    if r.random() < .2: del last[key]
    else: last[key] = r.choice([*VALUES, last, [x, x], x*2 if isinstance(x, (int, str, list)) else x])
    try: return json.dumps(d).encode()
    except ValueError: return b'[' * 100_000                # it holds itself: nested without end

def damage_png(b, r):
    "A chunk is another, and its checksum is right again."
    at, chunks = 8, []
    while at + 8 <= len(b): n = struct.unpack('>I', b[at:at + 4])[0]; chunks.append((b[at + 4:at + 8], b[at + 8:at + 8 + n])); at += 12 + n
    i = r.randrange(len(chunks)); name, body = chunks[i]; chunks[i] = name, damage_bytes(body, r)
    if r.random() < .1: chunks.insert(i, r.choice(chunks))
    return b[:8] + b''.join(struct.pack('>I', len(x)) + k + x + struct.pack('>I', zlib.crc32(k + x)) for k, x in chunks)

def damage_zip(b, r):
    "A member is another, in a whole archive."
    z = zipfile.ZipFile(io.BytesIO(b)); members = {n: z.read(n) for n in z.namelist()}; out = io.BytesIO()
    name = r.choice([n for n in members if n.endswith(('.pkl', '.npy'))] or list(members))
    if r.random() < .1: members[name + r.choice(['x', '/../../x'])] = members.pop(name)
    else: members[name] = damage_bytes(members[name], r)
    with zipfile.ZipFile(out, 'w') as w:
        for n, x in members.items(): w.writestr(n, x)
    return out.getvalue()

def damage_safetensors(b, r):
    "The header is another, its length is right again."
    n = struct.unpack('<Q', b[:8])[0]; head = (damage_json if r.random() < .6 else damage_bytes)(b[8:8 + n], r)
    return struct.pack('<Q', len(head)) + head + b[8 + n:]

def damage(b, r):
    "What is in a container is damaged as often as the container."
    try:
        if r.random() < .5:
            if b[:2] == b'\x1f\x8b': return gzip.compress(damage(gzip.decompress(b), r), 1)
            if b[:4] == b'\x89PNG': return damage_png(b, r)
            if b[:2] == b'PK': return damage_zip(b, r)
            if b[:1] in b'[{': return damage_json(b, r)
            if b[8:9] == b'{': return damage_safetensors(b, r)
    except (ValueError, zipfile.BadZipFile, struct.error, OSError): pass
    return damage_bytes(b, r)


# ---- what must not happen

class Watch:
    "While it is on: files opened outside of `root` or for writing, processes, sockets and unpickled names are noted."
    on, root, seen = False, '', []
    fine = tuple({os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, '/proc', '/sys/devices', '/dev', '/usr', '/lib', '/etc/ld.so.cache', '/etc/mime.types', Path(__file__).parent.parent, *sys.path) if p})
    @classmethod
    def hook(cls, event, args):
        if not cls.on: return
        if event == 'open' and isinstance(args[0], (str, bytes, os.PathLike)):
            path, flags = os.path.realpath(os.fsdecode(args[0])), args[2] or 0
            write = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not path.startswith(cls.root) and (write and not path.startswith(('/dev', '/proc')) and '__pycache__' not in path or not path.startswith(cls.fine)): cls.seen.append(f'opens {path}')
            elif write and path.startswith(cls.root): cls.seen.append(f'writes {path}')
        elif event in ('os.mkdir', 'os.remove', 'os.rename', 'os.rmdir', 'os.link', 'os.symlink', 'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'socket.connect', 'pickle.find_class', 'shutil.rmtree', 'shutil.unpack_archive'):
            if '__pycache__' not in str(args): cls.seen.append(f'{event} {args}')

sys.addaudithook(Watch.hook)

class TooLong(BaseException): pass
def _too_long(*_): raise TooLong

def vm(key):
    "Bytes of virtual or peak memory of this process."
    return int(re.search(rf'{key}:\s+(\d+) kB', Path('/proc/self/status').read_text())[1])*1024

def attempt(read, root, writes=False, big=False):
    "'' if all is well, else what went wrong; and whether it was read."
    Watch.root, Watch.seen = os.path.realpath(root), []
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    old = signal.signal(signal.SIGALRM, _too_long); signal.alarm(20); limit = vm('VmSize') + 2**30
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard)); Watch.on = True
        with warnings.catch_warnings(): warnings.simplefilter('ignore'); read(root)
        found, was_read = '', True
    except (ValueError, FileNotFoundError) as e:
        said, was_read = str(e), False
        found = '' if str(root) in said else f'{last_frame(e)}: does not name the file: {type(e).__name__}: {said[:150]}'
        if not big and ('MemoryError' in said or "can't allocate" in said or 'Cannot allocate' in said or 'Unable to allocate' in said): found = f'{last_frame(e)}: asks for more than a gigabyte: {said[-200:]}'
    except TooLong as e: found, was_read = f'{last_frame(e)}: takes more than 20 s', False
    except Exception as e: found, was_read = f'{last_frame(e)}: {type(e).__name__}: {str(e)[:150]}', False
    finally: Watch.on = False; signal.alarm(0); signal.signal(signal.SIGALRM, old); resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    seen = [x for x in dict.fromkeys(Watch.seen) if not (writes and str(root) in x)]
    return found or '; '.join(seen), was_read

def last_frame(e):
    "Where in the library it happened."
    own = [f for f in traceback.extract_tb(e.__traceback__) if '/featurenerf/' in f.filename]
    return f'{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}' if own else 'outside of the library'


# ---- the formats: (write a miniature into a folder, read it, which of its files are damaged)

def chairs(n=2, views=3, size=16):
    cams = sphere_cameras(torch.arange(views)*110., torch.full((views,), 25.), size=(size, size))
    return SceneSet([render_views(make_shape('chair', i), cams, seed=i) for i in (19, 4)[:n]], 'x', 'chair', 'test')

def both(reader, split=None):
    "Everything of both models of a reader."
    for i in reader.ids: reader[i]

def read_scenes(reader, split='test'):
    s = LazyScenes(reader, split)
    for x in s: x.box
    return s.box

def read_authors(root):
    r = AuthorsData(root); s = LazyScenes(r, 'test'); read_scenes(r); fixed_pairs(s)
    t = StoredTeacher(s, 'feat'); t(s[0].images('white')[:1])

def write_authors_mini(root):
    s = chairs(); write_authors(s, root, [(0, 1, 1, 1), (1, 0, 1, 2)])
    (root/'feat'/SYN).mkdir(parents=True)
    for x in s: np.savez(root/'feat'/SYN/f'{x.id}.npz', feats=np.random.default_rng(0).normal(size=(3, 4, 4, 4)).astype(np.float32))

def write_meshes(root):
    import trimesh
    m = make_shape('chair', 4); root.mkdir()
    t = trimesh.Trimesh(m.vertices, m.faces, process=False); t.visual.vertex_colors = np.full((len(m.vertices), 4), 200, np.uint8)
    for e in ('glb', 'ply', 'stl', 'gltf'): (root/e).mkdir(); t.export(root/e/f'a.{e}')
    t.export(root/'ply/text.ply', encoding='ascii'); t.export(root/'stl/text.stl', file_type='stl_ascii')
    (root/'obj').mkdir()
    box = trimesh.creation.box(); uv = np.random.default_rng(0).random((len(box.vertices), 2))
    box.visual = trimesh.visual.TextureVisuals(uv, image=Image.new('RGB', (4, 4), 'red')); box.export(root/'obj/a.obj')
    box.export(root/'glb/b.glb')

def read_all_meshes(root):
    for d in sorted(root.iterdir()):
        for m in read_meshes(d): m.face_part.sum()

def write_co3d(root):
    views = 5; cams = sphere_cameras(torch.arange(views)*360/views, 15 + 20.*(torch.arange(views) % 3), radius=2.2, fov=44, size=(24, 32))
    notes.P['co3d_miniature'](root, render_views(make_shape('chair', 19), cams), cams, 'seq', kind='ndc_isotropic')

def read_pairs(root):
    for p in SPair(root): p.images(); p.box_size(); p.cut(0, 8); p.cut(1, 8)

TINY = dict(feature_dim=3, hidden=8, depth=2, encoder='small', encoder_weights='scratch', n_coarse=4, n_importance=1, n_depth=1)
def write_model(root): torch.manual_seed(0); FeatureNeRF(Config(**TINY)).save_pretrained(root)

def trained():
    torch.manual_seed(0); model = FeatureNeRF(Config(**TINY)); opt = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward(); opt.step()
    return model, opt

def write_checkpoint(root): save_checkpoint(root/'checkpoint.safetensors', *trained(), dict(step=1, train={}, history=[dict(loss=1.)]))

def read_checkpoint(root):
    model, opt = trained(); load_checkpoint(root/'checkpoint.safetensors', model, opt)
    sum(p.sum() for p in model.parameters()).backward(); opt.step()                       # what was read can be used

def write_official(root):
    "A checkpoint with the authors' names."
    torch.manual_seed(0); root.mkdir()
    model = FeatureNeRF(Config.variant('official', feature_dim=3, hidden=8, depth=2, combine=2, encoder='resnet18', n_freqs=2), load_encoder=False)
    names = {'trunk.point': 'lin_in', 'trunk.image': 'lin_z', 'trunk.blocks': 'blocks', 'joint': 'lin_out'}
    out = {'code._freqs': (1.5*2.**torch.arange(2)).repeat_interleave(2)[None, :, None]}
    for k, v in model.state_dict().items():
        if k.startswith('encoder.net.'): out['encoder.model.' + k[12:]] = v
        for a, b in names.items():
            if k.startswith(f'field.{a}.'): out[f'mlp_coarse.{b}.' + k[len(f'field.{a}.'):]] = v
    torch.save(out, root/'pixel_nerf_latest')

def results():
    g = np.random.default_rng(0); values = {'A': {'2D same mIoU': g.random(4)*100, '2D same kp@10': g.random(4)*100}}
    return Results('shapes', 'chair', values, {'2D same': dict(source=np.arange(4), target=np.arange(4)[::-1])})

def write_results(root): root.mkdir(); results().to_json(root/'means.json'); results().to_json(root/'pairs.json', per_pair=True)

def read_results(root):
    for f in sorted(root.iterdir()):
        r = Results.from_json(f); r.table(); r.to_json()
        if r.values: r | r                                 # means do not say which pairs they are of, and are not joined

def write_cells(root):
    for seed in (0, 1):
        f = cell_path(root, 'cpu', 'chair', 'shapes', seed); f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text(json.dumps(dict(preset='cpu', category='chair', method='shapes', seed=seed, results=json.loads(results().to_json(per_pair=True)))))

def read_all_cells(root):
    for methods in read_cells(root).values():
        for seeds in methods.values():
            for r, _ in seeds.values(): r.table()

def write_weights(root):
    from safetensors.torch import save_file
    root.mkdir(); state = dict(a=torch.randn(3, 4), b=torch.zeros(2))
    save_file(state, root/'a.safetensors'); torch.save(state, root/'a.pth'); torch.save(state, root/'old.bin', _use_new_zipfile_serialization=False)

def read_all_weights(root):
    for f in sorted(root.iterdir()): assert all(torch.is_tensor(v) for v in read_weights(f).values())

def photo(size=24):
    a = np.full((size, size, 4), 200, np.uint8); a[..., 3] = 0; a[6:18, 8:16] = (200, 40, 40, 255)
    return Image.fromarray(a)

def write_photos(root):
    root.mkdir(); im, exif = photo(), Image.Exif(); exif[0x0112] = 6
    im.save(root/'a.png'); im.save(root/'a.webp', lossless=True); im.quantize().save(root/'a.gif', transparency=0)
    Image.alpha_composite(Image.new('RGBA', im.size, 'white'), im).convert('RGB').save(root/'a.jpg', exif=exif)

def read_photos(root):
    load_image(root/'a.png', 8); load_image(root/'a.webp', 8)
    for f in sorted(root.iterdir()): cut_out(f, cut=lambda im: np.ones((im.height, im.width), bool)) if f.suffix == '.jpg' else cut_out(f)

PICTURES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
def write_teacher(root):
    root.mkdir(); save_projection(fit_standardize(ColorPosition(), PICTURES, torch.ones(4, 16, 16)), root/'projection.safetensors')
    import featurenerf
    for e in ('safetensors', 'json'): shutil.copy(Path(featurenerf.__file__).parent/f'weights/shapes_teacher.{e}', root)

def read_teacher(root):
    load_projection(ColorPosition(), root/'projection.safetensors')(PICTURES[:1])
    load_teacher('shapes', weights=root/'shapes_teacher.safetensors')

def write_cache(root): Cached(ColorPosition(), root)(PICTURES[:2])
def read_cache(root):
    cached = Cached(ColorPosition(), root)
    for f in root.rglob('*.safetensors'): cached.read(f)

FORMATS = {
    'SceneFolder': (lambda r: write_scenes(chairs(), r), lambda r: read_scenes(SceneFolder(r))),
    'AuthorsData': (write_authors_mini, read_authors),
    'TransformsFolder': (lambda r: [layouts.miniature_transforms(s, r/s.id) for s in chairs()], lambda r: read_scenes(TransformsFolder(r), 'all')),
    'KeypointNet': (lambda r: notes.D['keypointnet_miniature'](r, notes.CHAIRS), lambda r: [both(KeypointNet(r, 'chair', s)) for s in ('train', 'test')]),
    'ShapeNetPart': (lambda r: notes.D['shapenetpart_miniature'](r, notes.CHAIRS, notes.D['shapenetpart_frame']), lambda r: [both(ShapeNetPart(r, 'chair', s)) for s in ('train', 'test')]),
    'PartNet': (lambda r: notes.D['partnet_miniature'](r, notes.CHAIRS, notes.D['partnet_frame']), lambda r: both(PartNet(r, 'chair'))),
    'ShapeNet': (lambda r: notes.D['shapenet_miniature'](r, notes.CHAIRS, 2), lambda r: [ShapeNet(r, 'chair').mesh(i) for i in ShapeNet(r, 'chair').ids]),
    'CO3D': (write_co3d, lambda r: [CO3D(r, 'chair', size=8, n_views=4).read(i) for i in CO3D(r, 'chair').sequences]),
    'SPair': (lambda r: write_spair(r, [(a, 0, b, 1) for a in chairs() for b in chairs()][1:3]), read_pairs),
    'meshes': (write_meshes, read_all_meshes),
    'pictures': (write_photos, read_photos),
    'model': (write_model, FeatureNeRF.from_pretrained),
    'checkpoint': (write_checkpoint, read_checkpoint),
    'official': (write_official, lambda r: FeatureNeRF.from_official(r/'pixel_nerf_latest')),
    'Results': (write_results, read_results),
    'cells': (write_cells, read_all_cells),
    'weights': (write_weights, read_all_weights),
    'teacher': (write_teacher, read_teacher),
    'cache': (write_cache, read_cache),
}
# these write: a cache keeps a note of whose features it holds
WRITES = {'cache'}
# formats of other libraries, which ask for as much memory as a damaged count says: refused all the same
BIG = {'weights', 'meshes'}
SLOW = {'CO3D': 4, 'official': 4, 'PartNet': 4, 'teacher': 2, 'meshes': 2, 'ShapeNet': 2, 'KeypointNet': 2, 'ShapeNetPart': 2}     # how much fewer


@pytest.fixture(scope='module')
def valid(tmp_path_factory):
    "Miniatures, written when asked for."
    done = {}
    def take(name):
        if name not in done: done[name] = tmp_path_factory.mktemp('fuzz')/name; FORMATS[name][0](done[name])
        return done[name]
    return take


def sign_again(root, path):
    "Our own layout notices any change by its checksum; put the right one there, so that what is behind it is tried too."
    m = json.loads((root/'manifest.json').read_text())
    id, file = path.relative_to(root).parts[0], '/'.join(path.relative_to(root).parts[1:])
    if file in m['objects'].get(id, {}): m['objects'][id][file] = file_sha256(path); (root/'manifest.json').write_text(json.dumps(m))


def fuzz(root, name, n, seed):
    "n damages of one format -> what went wrong (once each), how many were read, how many refused."
    read, how = FORMATS[name][1], dict(writes=name in WRITES, big=name in BIG); files = sorted(p for p in root.rglob('*') if p.is_file())
    kinds = {}
    for f in files: kinds.setdefault((f.suffix, f.parent.name if f.suffix in ('.json', '.npz', '.txt') else ''), []).append(f)
    wrong, counts = {}, [0, 0]
    read(root)                                                                            # lazy imports
    found, was_read = attempt(read, root, **how); assert was_read and not found, found
    for i in range(n):
        r = random.Random(f'{name} {seed} {i}')
        path = r.choice(r.choice(list(kinds.values()))); good = path.read_bytes(); manifest = root/'manifest.json'
        old = manifest.read_bytes() if manifest.is_file() else None
        try:
            if r.random() < .02: path.unlink()
            else:
                path.write_bytes(damage(good, r))
                if old and path != manifest and r.random() < .8: sign_again(root, path)
            found, was_read = attempt(read, root, **how); counts[not was_read] += 1
            if found: wrong.setdefault(re.sub(r'[0-9]{3,}|0x\w+', '#', found)[:200], f'{found} [{path.relative_to(root)}, damage {i}]')
        finally:
            path.write_bytes(good)
            if old: manifest.write_bytes(old)
    found, was_read = attempt(read, root, **how); assert was_read and not found                  # no damage is left in a cache
    return list(wrong.values()), *counts


@pytest.mark.parametrize('name', FORMATS)
def test_damage(valid, name):
    wrong, *_ = fuzz(valid(name), name, 24//SLOW.get(name, 1), 0)
    assert not wrong, '\n'.join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize('name', FORMATS)
def test_much_damage(valid, name, record):
    n = int(os.environ.get('FEATURENERF_FUZZ', 2000))
    wrong, was_read, refused = fuzz(valid(name), name, n, 1)
    record(damaged=n, read=was_read, refused=refused, wrong=len(wrong))
    assert not wrong, '\n'.join(wrong)


def chunk(path, name, body):
    "A picture whose first chunk of that name is another, with its right checksum."
    b = path.read_bytes(); i = b.index(name); n = struct.unpack('>I', b[i - 4:i])[0]
    path.write_bytes(b[:i - 4] + struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body)) + b[i + 8 + n:])

def change(path, f): d = json.loads(path.read_text()); f(d); path.write_text(json.dumps(d))

def promise(path, name, shape):
    "An array that says it is much larger than it is."
    z = zipfile.ZipFile(path); members = {n: z.read(n) for n in z.namelist()}; head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, dict(descr='<f4', fortran_order=False, shape=shape)); members[name] = head.getvalue() + b'0'*64
    with zipfile.ZipFile(path, 'w') as w: [w.writestr(*m) for m in members.items()]

TABLE = ('2D same mIoU', '2D same kp@10')
FOUND = [   # what the long run has found, file by file: format, file, damage, what the error says
    ('AuthorsData', f'part_3d_anno/{SYN}/chair-0-00019.npz', lambda f: promise(f, 'pts.npy', (2**33, 3)), r'bytes there'),
    ('SPair', 'Segmentation/chair/chair-0-00004_0.png', lambda f: chunk(f, b'IHDR', struct.pack('>IIBBBBB', 2**24, 3200, 8, 0, 0, 0, 0)), 'more pixels than Pillow reads, expected at most 67 million'),
    ('SPair', 'Segmentation/chair/chair-0-00019_0.png', lambda f: chunk(f, b'IHDR', b'12'), 'cannot be read as a picture'),
    ('CO3D', 'chair/seq/masks/frame000002.png', lambda f: chunk(f, b'IHDR', b'12'), 'cannot be read as a picture'),
    ('pictures', 'a.png', lambda f: f.write_bytes(f.read_bytes()[:60]), 'cannot be read as a picture'),
    ('pictures', 'a.png', lambda f: chunk(f, b'IHDR', struct.pack('>IIBBBBB', 9000, 9000, 8, 6, 0, 0, 0)), 'at most 67 million'),
    ('pictures', 'a.webp', lambda f: f.write_bytes(f.read_bytes()[:30]), 'cannot be read as a picture'),
    ('meshes', 'ply/text.ply', lambda f: f.write_text(re.sub(r'\n3 \d+ ', '\n3 99999 ', f.read_text(), count=1)), 'text.ply'),
    ('ShapeNet', '03001627/chair4/models/model_normalized.obj', lambda f: f.write_text(re.sub(r'^v (\S+) (\S+) \S+.*$', r'v \1 \2', f.read_text(), flags=re.M)), 'model_normalized.obj'),
    ('Results', 'pairs.json', lambda f: f.write_text('['*100_000), 'is damaged'),
    ('Results', 'pairs.json', lambda f: change(f, lambda d: d['values']['A'][TABLE[0]].pop()), 'another number of pairs'),
    ('Results', 'pairs.json', lambda f: change(f, lambda d: d['values'].update(A=[1])), 'values does not hold'),
    ('Results', 'pairs.json', lambda f: change(f, lambda d: d['values']['A'].update({TABLE[0]: [1, None, 2, 3]})), 'values does not hold'),
    ('Results', 'pairs.json', lambda f: change(f, lambda d: d['pairs']['2D same'].pop('target')), 'source or target'),
    ('Results', 'means.json', lambda f: change(f, lambda d: d['metrics']['A'][TABLE[0]].update(pairs=5)), 'metrics does not hold'),
    ('Results', 'means.json', lambda f: change(f, lambda d: d.update(n_pairs={'2D same': 10**18})), 'n_pairs is'),
    ('Results', 'means.json', lambda f: change(f, lambda d: d.update(n_pairs={})), 'no task with pairs'),
    ('Results', 'means.json', lambda f: change(f, lambda d: d.update(seeds=3)), 'seeds does not hold'),
    ('cells', 'cpu/chair/shapes-seed0.json', lambda f: f.write_text('['*100_000), 'is damaged'),
    ('teacher', 'shapes_teacher.safetensors', lambda f: f.write_bytes(f.read_bytes().replace(b'up2.bias', b'up3.bias', 1)), 'is damaged'),
]

@pytest.mark.parametrize('i', range(len(FOUND)), ids=lambda i: f'{FOUND[i][0]}-{i}')
def test_found_before(valid, i):
    name, file, harm, says = FOUND[i]
    root = valid(name); path = root/file; good = path.read_bytes()
    try:
        harm(path); assert path.read_bytes() != good
        with pytest.raises(ValueError, match=says) as e: FORMATS[name][1](root)
        assert str(path) in str(e.value)
    finally: path.write_bytes(good)


def test_the_watch_sees(tmp_path):
    "The net has no hole: each of the things that must not happen is noticed."
    import pickle, subprocess
    def refuse(e):
        def f(_): raise e
        return f
    def big(_): np.ones(2**28)
    cases = dict(writes=lambda r: (r/'new').write_text('x'), opens=lambda r: (r.parent/'out').write_text('x'), outside=lambda r: open('/var/log/none'), KeyError=refuse(KeyError('x')),
                 name=refuse(ValueError('bad')), mkdir=lambda r: (r/'d').mkdir(), Popen=lambda r: subprocess.run(['true']), find_class=lambda r: pickle.loads(pickle.dumps(Path)), MemoryError=big)
    for what, f in cases.items():
        found, _ = attempt(f, tmp_path/'in' if (tmp_path/'in').mkdir(exist_ok=True) is None else None)
        assert (what in found) or (what == 'outside' and 'FileNotFound' in found) or (what == 'name' and 'does not name' in found), (what, found)
    assert attempt(refuse(ValueError(f'{tmp_path}/in/a is bad')), tmp_path/'in') == ('', False) and attempt(lambda r: None, tmp_path/'in') == ('', True)
