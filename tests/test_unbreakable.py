"What happens to long runs: killed at any moment, full disks, ten thousand objects, several processes."
import json, os, signal, subprocess, sys
from pathlib import Path
import pytest
from featurenerf.experiments import read_cells, run_matrix

ROOT = Path(__file__).parent.parent
SMALL = """
import json, os, sys, time, torch; torch.set_num_threads(1)
from featurenerf.model import Config, FeatureNeRF
from featurenerf.shapes import shapes
from featurenerf.teachers import load_teacher
from featurenerf.training import TrainConfig, fit
train = shapes('chair', 'train', n_objects=10, n_views=3, size=24, n_jobs=1, progress=False)
teacher = load_teacher('shapes')
def new_model(dtype=torch.float32, **kw):
    torch.manual_seed(0)
    return FeatureNeRF(Config(feature_dim=teacher.dim, hidden=16, encoder='small', encoder_weights='scratch', box=train.box.tolist(), **{**dict(n_coarse=6, n_importance=2, n_depth=2), **kw})).to(dtype)
def run(out=None, steps=40, model={}, **kw):
    cfg = TrainConfig(**{**dict(steps=steps, objects=4, rays=32, targets=2, lr=2e-3, schedule='cosine', warmup=5, clip=1., log_every=5, save_every=2), **kw})
    m = new_model(**model)
    return m, fit(m, train, teacher, cfg, out, 'cpu', progress=False)
def end_me_once_it_runs(out): # as a cluster does: SIGTERM
    import signal, threading
    def wait():
        while not os.path.exists(out + '/checkpoint.safetensors'): time.sleep(.05)
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=wait, daemon=True).start()
def weights(m): return torch.cat([p.detach().flatten() for p in m.state_dict().values()])
"""


def python(code, *args, **env):
    return subprocess.run([sys.executable, '-c', SMALL + code, *map(str, args)], capture_output=True, text=True, cwd=ROOT, timeout=500,
                          env=dict(os.environ, OMP_NUM_THREADS='1', **env))


def kill_and_resume(tmp_path, kills, steps):
    """A parent process forks children that train, and kills each after a random time; the last one may finish.
    Forking spares every child the seconds that importing takes, so that kills fall into the run itself."""
    code = """
import random, signal
out, kills, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
reference, history = run(steps=steps)
one = time.perf_counter(); run(steps=8); one = (time.perf_counter() - one)/8         # seconds a step
random.seed(0); died, saw = 0, []
while True:
    pid = os.fork()
    if not pid:
        try:
            m, h = run(out, steps)
            torch.save((weights(m), h), out + '/end.pt'); os._exit(0)
        except BaseException as e: print(repr(e), flush=True); os._exit(1)
    if died < kills:
        time.sleep(random.uniform(0, 1.6*one*steps/kills))
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status): died += 1; continue
    assert status == 0, 'a resumed run failed'
    break
w, h = torch.load(out + '/end.pt', weights_only=True)
same = torch.equal(w, weights(reference))
print(json.dumps(dict(died=died, same=same, losses=[x['loss'] for x in h] == [x['loss'] for x in history])))
"""
    run = python(code, tmp_path, kills, steps)
    assert run.returncode == 0, run.stdout[-1500:] + run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_killed_five_times(tmp_path):
    r = kill_and_resume(tmp_path, 5, 20)
    assert r['same'] and r['losses'], r
    assert r['died'] >= 3, 'the run was over before it could be killed'


@pytest.mark.slow
def test_killed_fifty_times(tmp_path, record):
    "The weights of a run killed fifty times are those of one that was left alone, to the last bit; so are the recorded losses."
    r = kill_and_resume(tmp_path, 50, 300)
    record(steps=300, **r)
    assert r['same'] and r['losses'] and r['died'] == 50, r


class Deadly(os.PathLike):
    "A folder on which the process that uses it is killed, as by the system when memory runs out."
    def __fspath__(self): os.kill(os.getpid(), signal.SIGKILL)


def test_killed_process_is_a_failed_cell(tmp_path, capsys):
    "One cell of a matrix costs its process its life: it is named, and the others are finished."
    cell = lambda category, method, out: dict(category=category, method=method, seed=0, preset='smoke', out_dir=out, results_dir=str(tmp_path/'results'))
    cells = [cell('chair', 'nerf_feature', Deadly()), cell('chair', 'place', str(tmp_path)), cell('car', 'place', str(tmp_path))]
    assert run_matrix(cells, 2) == [(cells[0], 'its process was killed, perhaps out of memory')]
    assert 'failed: chair nerf_feature seed 0: its process was killed' in ''.join(capsys.readouterr())
    assert {f'{c}/{m}' for c, of in read_cells(tmp_path/'results', 'smoke').items() for m in of} == {'chair/place', 'car/place'}


def test_sigterm_saves(tmp_path):
    code = """
end_me_once_it_runs(sys.argv[1])
try: run(sys.argv[1], steps=100_000, save_every=7)
except KeyboardInterrupt: print('stopped')
"""
    run = python(code, tmp_path)
    said = run.stdout.splitlines()
    assert said[-1] == 'stopped' and said[-2].startswith('interrupted after step'), run.stdout + run.stderr[-2000:]


def test_full_disk(tmp_path):
    "The system's own limit on the size of a file stands for a disk that is full: writing fails in the middle of a checkpoint."
    code = """
import resource, signal, warnings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
a, _ = run(sys.argv[1] + '/a', steps=4)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter('always'); b, _ = run(sys.argv[1] + '/b', steps=4)
print(torch.equal(weights(a), weights(b)), len(heard), os.listdir(sys.argv[1] + '/b'), str(heard[0].message)[:60])
"""
    run = python(code, tmp_path)
    assert run.returncode == 0 and run.stdout.splitlines()[-1].startswith('True 2 [] the checkpoint of step 2 could not be written'), run.stdout + run.stderr[-2000:]


def test_disk_full_at_the_end(tmp_path):
    "Neither the last checkpoint nor the finished model can be written: one error says what to do, and doing it costs the steps since the checkpoint before."
    code = """
import resource, signal, warnings
import featurenerf.training as T
from featurenerf.runs import PRESETS, train_model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
PRESETS['tiny'] = dict(model=dict(hidden=16, encoder='small', encoder_weights='scratch', n_coarse=6, n_importance=2, n_depth=2),
                       train=dict(steps=12, objects=4, rays=32, targets=2, lr=2e-3, log_every=2, save_every=4))
def largest_file(n): resource.setrlimit(resource.RLIMIT_FSIZE, (n, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
real, steps, full = T._step, [], False
def step(*args):
    steps.append(args[5])
    if full and args[5] == 9: largest_file(10_000)
    return real(*args)
T._step = step
def go(name): return train_model(name, train, teacher, 'tiny', sys.argv[1], 'cpu')
one, h = go('one')
full, folder = True, sys.argv[1] + '/two'
warnings.simplefilter('ignore')
try: go('two')
except OSError as e: said = str(e)
left = sorted(os.listdir(folder))
largest_file(resource.RLIM_INFINITY); full = False; steps.clear()
two, g = go('two')
same = torch.equal(weights(one), weights(two)) and [x['loss'] for x in g] == [x['loss'] for x in h]
print(json.dumps(dict(said=said.replace(folder, 'folder'), mb=sum(p.nbytes for p in one.state_dict().values())/1e6, left=left, steps=steps, same=same, end=sorted(os.listdir(folder)))))
"""
    run = python(code, tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    r = json.loads(run.stdout.splitlines()[-1])
    assert r['said'].startswith('folder: the finished model could not be written') and 'goes on from step 8' in r['said'] and f"about {r['mb']:.1f} MB" in r['said'], r
    assert {'checkpoint.safetensors', 'checkpoint.previous.safetensors'} <= set(r['left']) and not {'model.safetensors', 'history.json'} & set(r['left']), r
    assert r['steps'] == [8, 9, 10, 11] and r['same'], r
    assert {'config.json', 'history.json', 'model.safetensors'} <= set(r['end']) and not any('checkpoint' in f for f in r['end']), r


def test_checkpoints_reach_the_disk(tmp_path):
    "The file before it takes its name, and the folder after: else a power cut could leave names of files that are not there yet."
    code = """
out, said, sync, rename = sys.argv[1], [], os.fsync, os.replace
def what(fd): return [n for n in ('', '/checkpoint.tmp') if os.path.exists(out + n) and os.path.samestat(os.fstat(fd), os.stat(out + n))]
def fsync(fd): said.append(what(fd)); sync(fd)
def replace(a, b): said.append([os.path.basename(a), os.path.basename(b)]); rename(a, b)
os.fsync, os.replace = fsync, replace
run(out, steps=4)
print(json.dumps(said))
"""
    run = python(code, tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    new, old = ['checkpoint.tmp', 'checkpoint.safetensors'], ['checkpoint.safetensors', 'checkpoint.previous.safetensors']
    assert json.loads(run.stdout.splitlines()[-1]) == [['/checkpoint.tmp'], new, [''], ['/checkpoint.tmp'], old, new, ['']]


def test_unwritable_folder_is_known_at_once(tmp_path):
    (tmp_path/'file').write_text('')
    run = python("run(sys.argv[1])", tmp_path/'file')
    assert run.returncode != 0 and str(tmp_path/'file') in run.stderr.splitlines()[-1]


@pytest.mark.parametrize('epoch', [.2, pytest.param(1., marks=pytest.mark.slow)])
def test_ten_thousand_objects(tmp_path, epoch, record):
    "Start-up under five seconds, memory flat over an epoch: nothing is read before a batch needs it, and little is kept."
    code = """
import resource
from featurenerf.layouts import open_scenes, write_scenes
from featurenerf.training import StreamBank, sample_batch, view_bank
root, n = sys.argv[1], 10_000
write_scenes(train[:1], root)
m = json.load(open(root + '/manifest.json')); (first, files), = m['objects'].items(); box = m['boxes'][first]
for i in range(n):
    name = f'{first}-{i:05d}'; os.makedirs(f'{root}/{name}/rgba')
    for f in files: os.link(f'{root}/{first}/{f}', f'{root}/{name}/{f}')
    m['objects'][name] = files; m['boxes'][name] = box
del m['objects'][first], m['boxes'][first]; m['splits'] = {}
json.dump(m, open(root + '/manifest.json', 'w'))
t = time.perf_counter()
lazy = open_scenes(root, 'all'); box = lazy.box
bank = view_bank(lazy, memory_gb=.002); bank.fingerprint()
start = time.perf_counter() - t
assert type(bank) is StreamBank and len(lazy) == n and box.shape == (2, 3)
cfg = TrainConfig(objects=20, rays=32)
def resident(): return int(open('/proc/self/statm').read().split()[1])*os.sysconf('SC_PAGE_SIZE')/1e6
seen, memory, t = set(), [], time.perf_counter()
for step in range(int(float(sys.argv[2])*n)//cfg.objects):
    b = sample_batch(bank, cfg, step); seen |= set(b['objects'].tolist())
    if step % 20 == 19: memory.append(round(resident()))
print(json.dumps(dict(start=round(start, 2), kept=len(bank.kept), most=bank.most, seen=len(seen), memory_mb=memory, objects_per_s=round((step + 1)*cfg.objects/(time.perf_counter() - t)))))
"""
    run = python(code, tmp_path, epoch)
    assert run.returncode == 0, run.stderr[-3000:]
    r = json.loads(run.stdout.splitlines()[-1])
    record(epochs=epoch, **r)
    assert r['start'] < 5 and r['kept'] <= r['most'] < 1000 and r['seen'] > 6000*epoch, r
    assert r['memory_mb'][-1] - r['memory_mb'][0] < 40, r


def two_processes(path, code, processes=2):
    path.write_text(SMALL + code)
    run = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(processes), str(path), str(path.parent)],
                         capture_output=True, text=True, cwd=ROOT, timeout=300, env=dict(os.environ, OMP_NUM_THREADS='1', GLOO_SOCKET_IFNAME='lo', PYTHONPATH=str(ROOT)))
    assert run.returncode == 0, run.stdout[-1500:] + run.stderr[-3000:]
    return run.stdout


def test_two_processes_are_one(tmp_path):
    """Two processes with half of the objects each: the losses of one process with all of them; checkpoints written by two are continued by one.
    Where a coarse interval has next to no weight, the last digit decides where in it an importance sample lies, and now and then a step in float32 shows it.
    So every step is compared without such samples and in double precision with them, and in float32 with them the middle one of the steps."""
    code = """
rank = int(os.environ['RANK'])
def losses(h): return [[x[k] for k in ('rec', 'distill', 'coord', 'loss')] for x in h]
m, h = run(sys.argv[1] + '/two', steps=10, log_every=1)
smooth, double = (losses(run(steps=10, log_every=1, model=x)[1]) for x in (dict(n_importance=0), dict(dtype=torch.float64)))
if rank == 0: torch.save((weights(m), losses(h), smooth, double), sys.argv[1] + '/two.pt')
else: torch.save(weights(m), sys.argv[1] + '/other.pt')
try: run(steps=1, objects=3)
except ValueError as e: assert 'multiple of 2' in str(e)
else: raise AssertionError('three objects were shared by two processes')

import featurenerf.training as T, warnings                 # memory runs out in one process, at the third step: both halve their pieces
real, calls = T.batch_losses, []
def small(model, batch, *args):
    calls.append(len(batch['objects']))
    if rank == 1 and len(calls) > 2 and calls[-1] > 1: raise torch.OutOfMemoryError('CUDA out of memory')
    return real(model, batch, *args)
T.batch_losses = small
warnings.simplefilter('ignore'); _, g = run(steps=10, log_every=1); T.batch_losses = real
assert calls[:3] == [2, 2, 2] and set(calls[3:]) == {1}, calls
assert all(abs(a[k] - b[k]) < 1e-4*abs(b[k]) for a, b in zip(g, h) for k in ('rec', 'distill', 'coord'))
"""
    two_processes(tmp_path/'two.py', code)
    compare = """
out = sys.argv[1]
(w, *two), other = torch.load(out + '/two.pt', weights_only=True), torch.load(out + '/other.pt', weights_only=True)
assert torch.equal(w, other), 'the processes ended with different weights'
def differ(two, model): # largest relative difference of a loss, step by step
    one = [[x[k] for k in ('rec', 'distill', 'coord', 'loss')] for x in run(steps=10, log_every=1, model=model)[1]]
    return [max(abs(x - y)/abs(y) for x, y in zip(a, b)) for a, b in zip(two, one, strict=True)]
plain, smooth, double = map(differ, two, ({}, dict(n_importance=0), dict(dtype=torch.float64)))
resumed, h = run(out + '/two', steps=10, log_every=1)      # finished there, by two: one process reads it and has nothing to do
assert torch.equal(weights(resumed), w) and len(h) == 10
print(json.dumps([sorted(plain)[5], max(smooth), max(double)]))
"""
    run = python(compare, tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    differences = json.loads(run.stdout.splitlines()[-1])
    assert max(differences) < 1e-5 and differences[2] < 1e-6, differences


def test_started_from_a_notebook(tmp_path):
    "accelerate's notebook_launcher, after the notebook has trained by itself: its two processes have the losses of the one."
    code = """
import socket
from accelerate import notebook_launcher
_, one = run(steps=6, log_every=1)
def in_notebook(out):
    _, h = run(out, steps=6, log_every=1)
    print('said', os.environ['RANK'], os.environ['WORLD_SIZE'], json.dumps([[x[k] for k in ('rec', 'distill', 'coord', 'loss')] for x in h]), flush=True)
with socket.socket() as s: s.bind(('', 0)); port = s.getsockname()[1]
notebook_launcher(in_notebook, (sys.argv[1],), num_processes=2, use_port=str(port))
print('said', 0, 1, json.dumps([[x[k] for k in ('rec', 'distill', 'coord', 'loss')] for x in one]))
"""
    run = python(code, tmp_path/'out', GLOO_SOCKET_IFNAME='lo')
    assert run.returncode == 0, run.stdout[-1500:] + run.stderr[-3000:]
    said = {(int(r), int(n)): json.loads(h) for r, n, h in (l.split(' ', 3)[1:] for l in run.stdout.splitlines() if l.startswith('said'))}
    assert set(said) == {(0, 1), (0, 2), (1, 2)} and (tmp_path/'out'/'checkpoint.safetensors').exists(), run.stdout
    for two in (said[0, 2], said[1, 2]):
        assert all(abs(a - b) < 1e-5*abs(b) for x, y in zip(two, said[0, 1], strict=True) for a, b in zip(x, y, strict=True)), said


@pytest.mark.slow
def test_two_machines_are_one(tmp_path):
    "`accelerate launch` on each of two machines (here the same one, twice), as notebook 02b says it: one team of two."
    import socket
    path = tmp_path/'two.py'
    path.write_text(SMALL + "_, h = run(sys.argv[1], steps=3, log_every=1); print('said', os.environ['RANK'], os.environ['WORLD_SIZE'], [x['loss'] for x in h], flush=True)")
    with socket.socket() as s: s.bind(('', 0)); port = s.getsockname()[1]
    launch = [str(Path(sys.executable).parent/'accelerate'), 'launch', '--multi_gpu', '--num_machines', '2', '--num_processes', '2', '--main_process_ip', '127.0.0.1', '--main_process_port', str(port)]
    env = dict(os.environ, OMP_NUM_THREADS='1', GLOO_SOCKET_IFNAME='lo', PYTHONPATH=str(ROOT))
    each = [subprocess.Popen([*launch, '--machine_rank', str(r), str(path), str(tmp_path/'out')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT) for r in (0, 1)]
    said = [p.communicate(timeout=300)[0] for p in each]
    alone = json.loads(python("print([x['loss'] for x in run(steps=3, log_every=1)[1]])").stdout)
    for r in (0, 1):
        assert f'said {r} 2 [' in said[r], said[r][-3000:]
        assert json.loads(said[r].split(f'said {r} 2 ')[1].splitlines()[0]) == pytest.approx(alone, rel=1e-5)

@pytest.mark.slow
@pytest.mark.parametrize('first', [1, 2])
def test_resumed_on_another_number_of_processes(tmp_path, first):
    "Interrupted in its fifth step with one process and resumed with two, or the other way round: the losses of a run with one."
    go = """
import signal
import featurenerf.training as T
out, stop, rank, real = sys.argv[1], {stop}, os.environ.get('RANK', '0'), T._step
def step(*args):
    if args[5] == stop and rank == '0': os.kill(os.getpid(), signal.SIGINT)
    return real(*args)
T._step = step
try: m, h = run(out + '/run', steps=10, log_every=1, save_every=100)
except KeyboardInterrupt: print('interrupted', flush=True)
else:
    if rank == '0': json.dump(h, open(out + '/history.json', 'w'))
"""
    def go_on(processes, stop):
        code = go.format(stop=stop)
        if processes == 2: return two_processes(tmp_path/'go.py', code)
        run = python(code, tmp_path)
        assert run.returncode == 0, run.stderr[-3000:]
        return run.stdout
    assert 'interrupted after step 5' in go_on(first, 4) and 'interrupted' not in go_on(3 - first, -1)
    reference = python("print(json.dumps(run(steps=10, log_every=1)[1]))")
    ours, one = json.loads((tmp_path/'history.json').read_text()), json.loads(reference.stdout.splitlines()[-1])
    assert [x['step'] for x in ours] == list(range(1, 11))
    assert max(abs(a[k] - b[k])/abs(b[k]) for a, b in zip(ours, one) for k in ('rec', 'distill', 'coord', 'loss')) < 1e-5


@pytest.mark.slow
def test_notebook_kernel_killed(tmp_path):
    "The kernel of a notebook dies in the middle of fit; a new one runs the same cells and ends in the same weights."
    import time
    from jupyter_client import KernelManager
    path, said = tmp_path/'run'/'checkpoint.safetensors', []
    def kernel():
        manager = KernelManager(kernel_name='python3')
        manager.start_kernel(cwd=str(ROOT), env=dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT)))
        client = manager.client(); client.start_channels(); client.wait_for_ready(120)
        client.execute_interactive(SMALL, timeout=120, output_hook=lambda m: None)
        return manager, client
    def heard(m): said.append(m['content'].get('text') or m['content'].get('evalue') or '')
    cell = f"m, h = run({str(path.parent)!r}, steps=60)"
    manager, client = kernel()
    try:
        client.execute(cell)
        end = time.monotonic() + 120
        while not path.exists() and time.monotonic() < end: time.sleep(.02)
        manager.provisioner.process.kill(); manager.provisioner.process.wait()
        client.stop_channels()
        manager.cleanup_resources()
        assert path.exists(), 'no checkpoint was written'
        manager, client = kernel()
        for c in ("import featurenerf.training as T; real, steps = T._step, []\ndef count(*a): steps.append(a[5]); return real(*a)\nT._step = count", cell,
                  "print(json.dumps(dict(first=steps[0], same=torch.equal(weights(m), weights((ref := run(steps=60))[0])), losses=[x['loss'] for x in h] == [x['loss'] for x in ref[1]])))"):
            client.execute_interactive(c, timeout=200, output_hook=heard)
    finally: client.stop_channels(); manager.shutdown_kernel(now=True); manager.cleanup_resources()
    r = json.loads(''.join(said).splitlines()[-1])
    assert 0 < r['first'] < 60 and r['same'] and r['losses'], said


@pytest.mark.slow
def test_main_job_with_unreadable_pictures(tmp_path):
    "One damaged training object and one damaged test object of a dozen: both are left out, the second before training, and the numbers say so."
    prepare = """
from featurenerf.layouts import open_scenes, write_scenes
for name in ('train', 'test'):
    root = sys.argv[1] + '/' + name
    write_scenes(shapes('chair', 'train', n_objects=18, n_views=4, size=32, n_jobs=1, progress=False), root)
    some = open_scenes(root, 'all'); assert len(some) >= 10
    open(f'{root}/{some.ids[1]}/rgba/001.png', 'wb').write(b'not a picture')
print(len(some))
"""
    run = python(prepare, tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    job = [str(Path(sys.executable).parent/'papermill'), '--cwd', 'nbs', 'nbs/train_chair.ipynb', str(tmp_path/'out.ipynb'), '-p', 'preset', 'smoke', '-p', 'out_dir', str(tmp_path/'out'),
           '-p', 'data', str(tmp_path/'train'), '-p', 'test_data', str(tmp_path/'test')]
    job = subprocess.run(job, cwd=ROOT, capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != 'MPLBACKEND'} | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT)))
    assert job.returncode == 0, job.stderr[-3000:]
    data = json.loads((tmp_path/'out'/'metrics.json').read_text())['data']
    assert data['test'].endswith('(1 unreadable left out)') and data['n_test'] == int(run.stdout) - 1, data


def test_main_job_reads_what_it_shows():
    "A picture of eight objects must not read ten thousand."
    cells = json.loads((ROOT/'nbs'/'train_chair.ipynb').read_text())['cells']
    assert not [c['id'] for c in cells if any(f'list({s})' in ''.join(c['source']) for s in ('train', 'test'))]


def test_interrupt_of_one_process_stops_all(tmp_path):
    code = """
if os.environ['RANK'] == '1': end_me_once_it_runs(sys.argv[1] + '/out')
try: run(sys.argv[1] + '/out', steps=100_000, save_every=7)
except KeyboardInterrupt: print(f"stopped {os.environ['RANK']}\\n", end='', flush=True)   # in one piece, or the two would mix
"""
    said = two_processes(tmp_path/'stop.py', code)
    assert 'stopped 0' in said and 'stopped 1' in said and 'interrupted after step' in said


@pytest.mark.slow
def test_compiled_trunk_is_the_same(tmp_path):
    "torch.compile changes rounding, not the run (needs a C++ compiler)."
    run = python("""
a, h = run(steps=6, log_every=1)
b, g = run(steps=6, log_every=1, compile='default')
assert b.field.trunk._compiled_call_impl is None
print(max(abs(x[k] - y[k])/abs(x[k]) for x, y in zip(h, g) for k in ('rec', 'distill', 'coord')))
""")
    assert run.returncode == 0, run.stderr[-3000:]
    assert float(run.stdout.splitlines()[-1]) < 1e-4
