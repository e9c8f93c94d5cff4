"""How fast, where the time goes, and what each exact shortcut is worth. Ratios come from one run, in which the forms take turns.

    python benchmarks/speed.py                       # everything, on one thread: about 25 minutes on a laptop's core
    python benchmarks/speed.py --quick               # the same in small, to see that it runs: seconds
    python benchmarks/speed.py --parts step render   # some of it; the file keeps what it has of the others
    python benchmarks/speed.py --device cuda --scale paper --parts gpu   # the step at paper scale on a GPU. NOT RUN YET: there was no GPU

Writes results/speed/<scale>.json; nbs/experiments/speed.ipynb reads it. Encoder and teacher are not part of a step here: they are
the same in all forms ('encoder' says what the encoder costs)."""
import argparse, datetime, gc, json, os, shlex, statistics, subprocess, sys, time
from pathlib import Path
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT/'benchmarks')]
from unittest.mock import patch
import numpy as np, torch, torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from featurenerf.cameras import pixel_rays, sphere_cameras
from featurenerf.encoders import ImageEncoder
from featurenerf.fields import FeatureField
from featurenerf.model import FeatureNeRF
from featurenerf.runs import commit, hardware, peak_memory_gb, write_json
from featurenerf.sampling import box_interval
from featurenerf.skipping import density_grid, occupied_cells, skip_empty, skipping
from featurenerf.training import use_bf16
from naive import FORMS, SHORTCUTS, field_fn, loss, render

SIZES = dict(
    quick=dict(hidden=32, dims=(16, 40), map=(16, 8), rays=16, objects=1, samples=(16, 4, 4), repeat=2, matmul=128, image=16, every=4,
               views=4, size=32, pairs=5, eval_size=32, channels=32, scaling=dict(base=16, rays=(8, 16), samples=((8, 2, 2), (16, 4, 4)), views=(1, 2), dims=(16, 40))),
    cpu=dict(hidden=512, dims=(384, 960), map=(512, 64), rays=128, objects=1, samples=(64, 16, 16), repeat=3, step=dict(rays=256, repeat=4), matmul=2048, image=128, every=24,
             views=200, size=128, pairs=1000, eval_size=128, channels=512,
             scaling=dict(base=64, rays=(64, 128, 256), samples=((16, 4, 4), (32, 8, 8), (64, 16, 16)), views=(1, 2, 4), dims=(64, 384, 960))))
SIZES['paper'] = dict(SIZES['cpu'], rays=1024, objects=4, matmul=8192, step={})


# measuring -----------------------------------------------------------------------------------------------------------

def sync(device):
    if torch.device(device).type == 'cuda': torch.cuda.synchronize()

def interleaved(
    forms:dict, # name -> function
    repeat:int, # rounds
    device='cpu',
    warm:bool=True, # one more round comes first and does not count
)->dict: # name -> medians; 's' is what ratios are made of: processor seconds a thread, on a GPU wall seconds
    "A B C A B C ...: whatever else the machine does meets all forms alike, and processor time does not count the wait for others."
    took = {k: [] for k in forms}
    gc.collect(); gc.disable()
    try:
        for i in range(not warm, repeat + 1):
            for k, f in forms.items():
                sync(device); w, p = time.perf_counter(), time.process_time()
                f(); sync(device)
                if i: took[k].append((time.process_time() - p, time.perf_counter() - w))
    finally: gc.enable()
    on_cpu, out = torch.device(device).type == 'cpu', {}
    for k, v in took.items():
        cpu, wall = (statistics.median(x) for x in zip(*v))
        out[k] = dict(s=cpu/torch.get_num_threads() if on_cpu else wall, cpu_s=cpu, wall_s=wall, all_cpu_s=[round(c, 4) for c, _ in v])
    return out

def peak_gb():
    "Most memory of this process alone; the system's other count starts with the parent's."
    status = Path('/proc/self/status')
    if not status.exists(): return peak_memory_gb()
    return next(int(l.split()[1])*1024/1e9 for l in status.read_text().splitlines() if l.startswith('VmHWM'))

def matmul_peak(n, repeat=5, dtype=torch.float32, device='cpu'):
    "FLOP a second of a large matrix product."
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2*n**3 / interleaved({'matmul': lambda: a @ b}, repeat, device)['matmul']['s']

def counts(f):
    "FLOP of matrix products and convolutions (not of lookups, nor element by element), and bytes of activations that wait for the backward pass."
    seen = {}
    def pack(t):
        if not isinstance(t, nn.Parameter): seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t
    with FlopCounterMode(display=False) as c, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t): f()
    return dict(flop=c.get_total_flops(), activation_bytes=sum(seen.values()))


# the step ------------------------------------------------------------------------------------------------------------

class Step:
    "A training step of the paper's field: feature maps, rays and targets fixed, weights random, jitter off."
    def __init__(self, s, D, device='cpu', dtype=torch.float32, **other):
        s = dict(s, views=1) | other
        torch.manual_seed(0)
        B, R, (C, h) = s['objects'], s['rays'], s['map']
        self.field = FeatureField(C, D, s['hidden']).to(device, dtype)
        self.box, self.samples = torch.tensor([[-.5]*3, [.5]*3], device=device, dtype=dtype), s['samples']
        self.E = torch.randn(B, s['views'], h, h, C, device=device, dtype=dtype).movedim(-1, 2).requires_grad_() # channels innermost: the naive form's lookups read it as it lies
        az = torch.arange(B*s['views']).view(B, -1)*37.
        self.cameras = sphere_cameras(az, torch.full_like(az, 20.), size=(2*h, 2*h)).to(device)
        target = sphere_cameras(torch.arange(B)*50. + 90, torch.full((B,), 25.), size=(2*h, 2*h)).to(device)
        self.rays = pixel_rays(target, (torch.rand(B, R, 2)*h + h/2).to(device))            # in the middle half of the image
        if dtype == torch.float64:
            for c in (self.cameras, self.rays):
                for k, v in vars(c).items():
                    if torch.is_tensor(v) and v.is_floating_point(): setattr(c, k, v.double())
        self.rgb, self.feature = (torch.rand(B, R, n, device=device, dtype=dtype) for n in (3, D))
    def loss(self, use, both_passes=True, bf16=False):
        with torch.autocast(self.E.device.type, torch.bfloat16, enabled=bf16):
            r = render(self.field, self.E, self.cameras, self.rays, self.box, use, self.samples, both_passes)
        return loss(r, self.rays, self.rgb, self.feature)
    def __call__(self, use, both_passes=True, bf16=False):
        for p in (self.E, *self.field.parameters()): p.grad = None
        self.loss(use, both_passes, bf16).backward()
    def answers(self, use):
        "Outputs and gradients by name, and the distances of the samples."
        r = render(self.field, self.E, self.cameras, self.rays, self.box, use, self.samples, True)
        loss(r, self.rays, self.rgb, self.feature).backward()
        grads = {'E': self.E.grad, **{k: p.grad for k, p in self.field.named_parameters()}}
        for p in (self.E, *self.field.parameters()): p.grad = None
        return {**{k: r.values[k].detach() for k in ('rgb', 'v_nerf', 'feature')}, 'depth': r.depth.detach()}, grads, r.t

def relative(a, b): # largest difference in units of the largest entry, over all tensors; and which it is
    d = {k: ((a[k] - b[k]).abs().max() / a[k].abs().max()).item() for k in a}
    k = max(d, key=d.get)
    return dict(largest=d[k], of=k)

def watched(step, use, act):
    "Answers with another activation, and on which side of 0 each of its inputs was: by question of the naive form, which asks the coarse samples and then all of them in order."
    sides = []
    def f(x): sides.append(x.detach() > 0); return act(x)
    with patch('torch.nn.functional.relu', f): *answers, t = step.answers(use)
    coarse, fine = sides[:len(sides)//2], sides[len(sides)//2:]
    if 'reuse' in use:
        order, by_ray = t.argsort(-1)[..., None], lambda x: x.view(*t.shape[:2], -1, x.shape[-1])
        fine = [torch.cat([by_ray(x), by_ray(y)], 2).take_along_dim(order, 2).flatten(1, 2) for x, y in zip(coarse, fine)]
    return answers, coarse + fine

def agreement(s, D):
    """Naive against fast in single and in double precision: rounding goes away with digits, an error of method does not.
    A ReLU whose input is 0 up to rounding may switch sides, and then a gradient jumps: those are counted, and the fast form is also compared
    with a naive one that is told its sides. In single precision once more with SiLU, which has none."""
    out = {}
    for name, dtype, act in (('float32', torch.float32, F.relu), ('float32, SiLU', torch.float32, F.silu), ('float64', torch.float64, F.relu)):
        step = Step(s, D, dtype=dtype)
        naive, sides = watched(step, (), act)
        for form, use in FORMS.items():
            if not use: continue
            fast, other = watched(step, use, act)
            row = out.setdefault(form, {})[name] = {k: relative(*x) for k, x in zip(('outputs', 'gradients'), zip(naive, fast))}
            if act is F.silu: continue
            row['switched'] = [sum((a != b).sum().item() for a, b in zip(sides, other, strict=True)), sum(a.numel() for a in sides)]
            told = iter(other)
            row['gradients, same sides'] = relative(watched(step, (), lambda x: x*next(told))[0][1], fast[1])
    return out

def part_step(s, a):
    s = s | s.get('step', {})
    bf16, out = use_bf16('auto', 'cpu'), dict(setting={k: s[k] for k in ('hidden', 'map', 'objects', 'rays', 'samples')}, D={})
    peak = out['peak_flop_s'] = matmul_peak(s['matmul'])
    for D in s['dims']:
        step, here = Step(s, D), {}
        for title, both in (('losses on both passes', True), ('loss on the last pass', False)):
            forms = {k: lambda use=use: step(use, both) for k, use in FORMS.items() if both or use in ((), SHORTCUTS)}
            if bf16: forms['all three, bf16'] = lambda: step(SHORTCUTS, both, True)
            seen = {k: counts(f) for k, f in forms.items()}                                   # a warm round at the same time
            rows = interleaved(forms, s['repeat'], warm=False)
            for k, r in rows.items():
                r |= dict(seen[k], speedup=rows['naive']['s']/r['s'])
                if 'bf16' not in k: r['peak_share'] = r['flop']/r['s']/peak
            if not bf16: rows['all three, bf16'] = 'not measured: this processor has no bf16. Where there is: python benchmarks/speed.py --parts step'
            here[title] = rows
        out['D'][str(D)] = here
    return out

def part_agree(s, a):
    return {str(D): agreement(dict(s, rays=min(s['rays'], 32)), D) for D in s['dims']}


# rendering -----------------------------------------------------------------------------------------------------------

def chair():
    "The shipped model, one test chair, its encoder's map, a camera."
    from featurenerf.shapes import shapes
    model = FeatureNeRF.from_pretrained('shapes-chair')
    c = shapes('chair', 'test', n_objects=20, n_views=1, size=64, n_jobs=1, progress=False)[0]
    with torch.no_grad(): E, cond = model.encoder(c.images()).unsqueeze(0), model.encode(c.images()[None], c.cameras[None])
    return model, E, cond, c.cameras[None]

@torch.no_grad()
def maps(field, E, cameras, rays, box, samples, use, gate=None, bf16=False, chunk=None):
    "The image layer once for all chunks, as an encoded object is rendered. On a CPU a chunk is what stays in caches: of 64, 256 and 1024 rays of the paper's field, naive and fast are both fastest with 64."
    chunk = chunk or max(1, 2**15//field.density.linear.in_features)
    with torch.autocast(E.device.type, torch.bfloat16, enabled=bf16):
        ask = field_fn(field, E, cameras, use)
        rs = [render(field, E, cameras, rays[i].reshape(1, -1), box, use, samples, gate=gate, ask=ask) for i in torch.arange(len(rays)).split(chunk)]
    return {k: torch.cat([r.values[k] for r in rs], 1) for k in ('rgb', 'v_nerf', 'feature')} | {k: torch.cat([getattr(r, k) for r in rs], 1) for k in ('depth', 'acc')}

@torch.no_grad()
def part_render(s, a):
    model, E, cond, cameras = chair()
    camera = sphere_cameras(torch.tensor([40.]), torch.tensor([20.]), radius=2.2, fov=35., size=(s['image'],)*2)[0]
    rays = model.rays(camera).flatten(); rays = rays[model.hits(rays)]
    gate, c = skipping(model, cond), model.config
    forms = {k: (use, None, False) for k, use in FORMS.items()} | {'all three and skipping': (SHORTCUTS, gate, False)}
    if use_bf16('auto', 'cpu'): forms['all three, bf16'] = (SHORTCUTS, None, True)
    def compare(field, E, cameras, samples, every=1, repeat=1):
        "Every form on the same rays; the image layer, paid in full here, by its share of the whole map."
        some, out, asked = rays[::every], {}, 0
        def counting(gate): # the samples that reach the field
            def edit(f):
                def counted(x, d): nonlocal asked; asked += x.shape[1]*x.shape[2]; return f(x, d)
                return gate(counted) if gate else counted
            return edit
        image = interleaved({'image': lambda: field.trunk.project(E[0])}, 3)['image']['s']
        run = {k: lambda use=use, g=g, b=b: maps(field, E, cameras, some, model.box, samples, use, g, b) for k, (use, g, b) in forms.items()}
        seen, answers = {}, {}
        for k, (use, g, b) in forms.items():                                                       # a warm round at the same time
            asked = 0
            def f(): answers[k] = maps(field, E, cameras, some, model.box, samples, use, counting(g), b)
            seen[k] = dict(flop=counts(f)['flop'], samples_a_ray=asked/len(some))
        rows = interleaved(run, repeat, warm=False)
        for k, r in rows.items():
            once = image if 'first' in forms[k][0] else 0
            r |= dict(seen[k], map_s=(r['s'] - once)*len(rays)/len(some) + once, speedup=rows['naive']['s']/r['s'], flop_ratio=seen['naive']['flop']/seen[k]['flop'])
            r['map_speedup'] = rows['naive']['map_s']/r['map_s']
            if forms[k][1] is None: r['difference'] = relative(answers['naive'], answers[k])
        return dict(rows=rows, rays=len(some), image_layer_s=image, D=field.feature.v.out_features), answers
    out = dict(pixels=s['image']**2, rays=len(rays), threshold=.1, cells=32, bf16=use_bf16('auto', 'cpu'),
               grid_cpu_s=interleaved({'grid': lambda: density_grid(model, cond)}, 3)['grid']['cpu_s'])
    out['shipped chair model'], answers = compare(model.field, E, cameras, (c.n_coarse, c.n_importance, c.n_depth), repeat=min(2, s['repeat']))
    full, skipped = (answers[k] for k in ('all three', 'all three and skipping'))
    solid, scale = full['acc'] > .5, full['v_nerf'].norm(dim=-1).max()
    d = dict(rgb=(full['rgb'] - skipped['rgb']).abs(), depth_where_solid=(full['depth'] - skipped['depth'])[solid].abs(),
             v_nerf_of_longest=(full['v_nerf'] - skipped['v_nerf']).norm(dim=-1)/scale)
    out['skipping, difference'] = {k: dict(max=v.max().item(), mean=v.mean().item()) for k, v in d.items()}
    out['paper-size field'] = dict(note=f"random weights; every {s['every']}th ray that meets the box; 'map_s' is what all of them would take, the image layer once; the cells that are skipped are the shipped chair's, so that row is a time and no picture")
    for D in s['dims']:
        step = Step(s, D)
        out['paper-size field'][str(D)], _ = compare(step.field, step.E[:1], step.cameras[:1], s['samples'], s['every'], s['repeat'])
    return out


# scaling, memory, profile ---------------------------------------------------------------------------------------------

def worker(s, use, repeat=4):
    "In a process of its own: seconds a step, and the most memory it held."
    step = Step(s, s['dims'][0])
    empty = peak_gb()
    step(use); w, p = time.perf_counter(), time.process_time()
    for _ in range(repeat): step(use)
    return dict(wall_s=(time.perf_counter() - w)/repeat, cpu_s=(time.process_time() - p)/repeat, gb=peak_gb(), gb_before=empty)

def workers(a, use, n):
    cmd = [sys.executable, __file__, '--scale', a.scale, '--worker', ','.join(use) or 'naive'] + ['--quick']*a.quick
    procs = [subprocess.Popen(cmd, stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_NUM_THREADS='1')) for _ in range(n)]
    return [json.loads(p.communicate()[0].splitlines()[-1]) for p in procs]

def part_scaling(s, a):
    sc, D = s['scaling'], s['dims'][0]
    s = dict(s, rays=sc['base'])
    vary = {'rays': [dict(rays=x) for x in sc['rays']], 'samples': [dict(samples=x) for x in sc['samples']], 'views': [dict(views=x) for x in sc['views']]}
    steps = {k: [Step(s, D, **kw) for kw in v] for k, v in vary.items()} | {'D': [Step(s, x) for x in sc['dims']]}
    label = dict(rays=sc['rays'], samples=[sum(x) for x in sc['samples']], views=sc['views'], D=sc['dims'])
    out = {}
    for k, row in steps.items():
        forms = {(name, x): lambda st=st, use=use: st(use) for name, use in (('naive', ()), ('all three', SHORTCUTS)) for x, st in zip(label[k], row)}
        r = interleaved(forms, min(2, s['repeat']))
        out[k] = {name: [dict(x=x, cpu_s=r[name, x]['cpu_s']) for x in label[k]] for name in ('naive', 'all three')}
    return out | dict(base_rays=sc['base'])

def part_processes(s, a):
    "One process and two at the same time: does the memory carry two?"
    out = {}
    for name, use in (('naive', ()), ('all three', SHORTCUTS)):
        one, two = workers(a, use, 1), workers(a, use, 2)
        mean = lambda rs, k: statistics.mean(r[k] for r in rs)
        out[name] = {f'{n}_{k}': mean(rs, k) for n, rs in (('one', one), ('two', two)) for k in ('wall_s', 'cpu_s')} | dict(
            throughput_of_two=2*mean(one, 'wall_s')/mean(two, 'wall_s'), peak_gb=one[0]['gb'], of_which_before_the_step_gb=one[0]['gb_before'])
    return out

def part_profile(s, a):
    from torch.profiler import profile, ProfilerActivity
    D = s['dims'][0]; step = Step(s, D)
    peak, took = matmul_peak(s['matmul']), interleaved({'step': lambda: step(SHORTCUTS)}, s['repeat'])['step']
    with profile(activities=[ProfilerActivity.CPU]) as p: step(SHORTCUTS)
    rows = sorted(p.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in rows)
    flop = counts(lambda: step(SHORTCUTS))['flop']
    return dict(D=D, step=took, flop=flop, peak_flop_s=peak, floor_s=flop/peak, above_floor=took['s']/(flop/peak),
                top=[dict(op=e.key.removeprefix('aten::'), ms=e.self_cpu_time_total/1e3, share=e.self_cpu_time_total/total, calls=e.count) for e in rows[:12]])

def part_encoder(s, a):
    net, im = ImageEncoder('small' if a.quick else 'resnet34', 'scratch'), torch.rand(1, 3, 2*s['map'][1], 2*s['map'][1])
    f = lambda: net(im).square().mean().backward()
    return dict(name='small' if a.quick else 'ResNet-34', image=list(im.shape), **counts(f), **interleaved({'encoder': f}, s['repeat'])['encoder'])


# data and evaluation ----------------------------------------------------------------------------------------------------

def part_data(s, a):
    from featurenerf.shapes import shapes
    from featurenerf.teachers import load_teacher
    out, V = {}, min(10, s['views'])
    for cat in ('chair', 'car'):
        for size in sorted({s['size']//2, s['size']}):
            w, p = time.perf_counter(), time.process_time()
            scenes = shapes(cat, 'train', n_objects=max(10, 10*round(s['views']/V/7)), n_views=V, size=size, n_jobs=1, progress=False)
            w, p, n = time.perf_counter() - w, time.process_time() - p, len(scenes)*V
            out[f'{cat}, {size} px'] = dict(views=n, objects=len(scenes), wall_s=w, cpu_s=p, views_per_cpu_s=n/p,
                                            bytes_a_view=scenes[0].rgba[0].numel() + scenes[0].parts[0].numel() + scenes[0].depth[0].numel()*4 if hasattr(scenes[0], 'depth') else None)
    return out

class Given:
    "Features that cost next to nothing: colour, position and their products through fixed random waves."
    renders = True
    def __init__(self, dim):
        g = torch.Generator().manual_seed(0)
        self.W2, self.W3 = (torch.randn(n, dim, generator=g)*3 for n in (5, 3))
    def pixel_features(self, scene, view, uv, source_view=None):
        from featurenerf.encoders import pixel_align
        size = torch.tensor(scene.parts.shape[:0:-1])
        rgb = pixel_align(scene.images(views=[view]), (uv/size)[None])[0]
        return (torch.cat([rgb, uv/size], -1) @ self.W2).cos()
    def point_features(self, scene, view, x): return (x @ self.W3).cos()

def part_evaluate(s, a):
    "1000 pairs in 2D and in 3D with features given, in a process of its own for its memory."
    if not a.worker:
        out = {}
        for task in ('same', '3d'):
            cmd = [sys.executable, __file__, '--scale', a.scale, '--worker', f'evaluate-{task}', '--threads', str(a.threads)] + ['--quick']*a.quick
            out[task] = json.loads(subprocess.run(cmd, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
        return out
    from featurenerf.evaluation import evaluate
    from featurenerf.shapes import shapes
    task = a.worker.removeprefix('evaluate-')
    scenes = shapes('chair', 'test', n_objects=20 if a.quick else 200, n_views=2 if a.quick else 6, size=s['eval_size'], n_jobs=1, progress=False)
    w, p = time.perf_counter(), time.process_time()
    r = evaluate({'given': Given(s['channels'])}, scenes, s['pairs'], tasks=(task,), progress=False)
    places = len(scenes[0].points) if task == '3d' else float(np.mean([(x.parts > 0).float().sum().item()/len(x.parts) for x in scenes]))
    n = len(next(iter(r.values['given'].values())))
    return dict(pairs=n, channels=s['channels'], pixels=s['eval_size'], objects=len(scenes), places_a_side=places,
                wall_s=time.perf_counter() - w, cpu_s=time.process_time() - p, peak_gb=peak_gb())


# a GPU: NOT RUN YET -------------------------------------------------------------------------------------------------------

def part_gpu(s, a):
    "Step time at paper scale with bf16 autocast and TF32, share of the measured bf16 peak, and what 500k steps would take; and a feature map."
    if not torch.cuda.is_available(): raise SystemExit('--parts gpu needs a GPU (--device cuda), found none; this part has not been run yet')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    out = dict(peak_flop_s=matmul_peak(s['matmul'], dtype=torch.bfloat16, device=a.device), setting={k: s[k] for k in ('hidden', 'map', 'objects', 'rays', 'samples')}, D={})
    for D in s['dims']:
        step = Step(s, D, a.device)
        flop = counts(lambda: step(SHORTCUTS))['flop']
        if a.compile: step.field.trunk.forward = torch.compile(step.field.trunk.forward)
        rows = interleaved({'naive, fp32': lambda: step(()), 'all three, fp32': lambda: step(SHORTCUTS), 'all three, bf16': lambda: step(SHORTCUTS, bf16=True)}, 20, a.device)
        for r in rows.values(): r['hours_of_500k_steps'] = r['s']*500_000/3600
        gb = torch.cuda.max_memory_allocated()/1e9
        camera = sphere_cameras(torch.tensor([40.]), torch.tensor([20.]), radius=2.2, fov=35., size=(s['image'],)*2)[0].to(a.device)
        rays = pixel_rays(camera).flatten(); rays = rays[box_interval(rays, step.box)[2]]
        one = lambda use, bf16=False: lambda: maps(step.field, step.E[:1], step.cameras[:1], rays, step.box, s['samples'], use, bf16=bf16, chunk=4096)
        shown = interleaved({'naive, fp32': one(()), 'all three, fp32': one(SHORTCUTS), 'all three, bf16': one(SHORTCUTS, True)}, 5, a.device)
        for r in shown.values(): r['speedup'] = shown['naive, fp32']['s']/r['s']
        out['D'][str(D)] = dict(rows, map=dict(shown, pixels=s['image']**2, rays=len(rays)), flop=flop, peak_share=flop/rows['all three, bf16']['s']/out['peak_flop_s'], gb=gb)
        print(f"D = {D}: a map of {s['image']}² in {1e3*shown['all three, bf16']['s']:.0f} ms; {1e3*rows['all three, bf16']['s']:.1f} ms a step, {out['D'][str(D)]['peak_share']:.0%} of the bf16 peak, 500k steps in {rows['all three, bf16']['hours_of_500k_steps']:.1f} h")
    return out


PARTS = dict(step=part_step, agree=part_agree, render=part_render, scaling=part_scaling, processes=part_processes, profile=part_profile, encoder=part_encoder, data=part_data, evaluate=part_evaluate, gpu=part_gpu)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--scale', choices=('cpu', 'paper'), default='cpu', help='cpu: 256 rays of one object a step (128 for what is not a ratio); paper: 1024 rays of each of 4')
    p.add_argument('--parts', nargs='+', choices=PARTS, default=None, help='default: all but gpu; with --device cuda only gpu')
    p.add_argument('--quick', action='store_true', help='small sizes: does it run?')
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--device', default='cpu', help='cuda: for the part gpu')
    p.add_argument('--compile', action='store_true', help='torch.compile of the trunk, for the part gpu')
    p.add_argument('--out', help='default: results/speed/<scale>.json, or <scale>-cuda.json')
    p.add_argument('--worker', help=argparse.SUPPRESS)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    s = SIZES['quick' if a.quick else a.scale]
    if a.worker:
        print(json.dumps(part_evaluate(s, a) if a.worker.startswith('evaluate') else worker(s, () if a.worker == 'naive' else tuple(a.worker.split(',')))))
        return
    name = 'quick' if a.quick else a.scale + '-cuda'*(a.device != 'cpu')
    out = Path(a.out or ROOT/'results'/'speed'/f'{name}.json')
    record = json.loads(out.read_text()) if out.exists() else {}
    for k in a.parts or (['gpu'] if a.device != 'cpu' else [x for x in PARTS if x != 'gpu']):
        t0 = time.perf_counter()
        result = PARTS[k](s, a)
        command = 'python benchmarks/speed.py ' + shlex.join(['--scale', a.scale, '--parts', k, '--threads', str(a.threads)] + ['--quick']*a.quick + ['--device', a.device]*(a.device != 'cpu') + ['--compile']*a.compile)
        record[k] = dict(command=command, config=s, commit=commit(), hardware=hardware(), date=datetime.date.today().isoformat(), torch=torch.__version__, seconds=round(time.perf_counter() - t0), result=result)
        write_json(out, record)
        print(f'{k}: {record[k]["seconds"]} s -> {out.name}')

if __name__ == '__main__': main()
