"""A pretend GPU. Its tensors are held on the CPU and computed there, but they call themselves another device's, and what a GPU refuses is refused:
tensors of two devices in one operation, and NumPy. So the path that a GPU takes can be tried where there is none: not its speed nor its rounding, but that everything is where it must be.

    python tests/pretend_gpu.py FOLDER   # trains, resumes, evaluates, edits and explores on the CPU and on the pretend device, and compares"""
import sys
from pathlib import Path
import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

ANYWHERE = {'_to_copy', 'copy_', '_copy_from', '_local_scalar_dense'}                            # move from device to device
INDEXING = {'index', 'index_put', 'index_put_', '_index_put_impl_', '_unsafe_index'}             # indices may come from the CPU
operations = 0

class Held(torch.Tensor):
    "A tensor of the pretend device: `held` is where its numbers are."
    @staticmethod
    def __new__(cls, x):
        return torch.Tensor._make_wrapper_subclass(cls, x.shape, strides=x.stride(), storage_offset=x.storage_offset(), dtype=x.dtype, device='pretend:0')
    def __init__(self, x): self.held = x
    def __repr__(self, **_): return f'pretend({self.held!r})'
    def untyped_storage(self): return self.held.untyped_storage()
    def data_ptr(self): return self.held.data_ptr()
    def tolist(self): return self.held.tolist()
    def numpy(self, **_): raise TypeError("can't convert a tensor of the pretend device to numpy; use .cpu() first")
    def new_tensor(self, data, dtype=None, device=None): return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device)
    __torch_function__ = torch._C._disabled_torch_function_impl
    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None): return run(op, *args, **(kwargs or {}))

def held(x): return x.held if isinstance(x, Held) else x

def run(op, *args, **kwargs):
    "What PyTorch calls for every operation on the pretend device."
    global operations
    operations += 1
    name, device = op._schema.name.split('::')[1], kwargs.get('device')
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [isinstance(x, Held) for x in tensors]
    if name not in ANYWHERE and any(there):
        wrong = [tuple(x.shape) for x, t in zip(tensors, there) if not t and x.ndim and not (name in INDEXING and there[0])]
        if wrong: raise RuntimeError(f'{name}: tensors on two devices; on the CPU are those of shapes {wrong}')
    if name == 'copy_': held(args[0]).copy_(held(args[1])); return args[0]
    if name == '_copy_from': held(args[1]).copy_(held(args[0])); return args[1]
    here = any(there) if device is None else torch.device(device).type == 'pretend'
    if device is not None: kwargs['device'] = torch.device('cpu')
    out = op(*tree_map(held, args), **tree_map(held, {k: v for k, v in kwargs.items() if k != 'pin_memory'}))
    same = {id(x.held): x for x in tensors if isinstance(x, Held)}                                # in place: the same tensor comes back
    def back(x): return same[id(x)] if id(x) in same else Held(x) if here and isinstance(x, torch.Tensor) else x
    return tree_map(back, out)

class Module:
    "What PyTorch asks of a device's module."
    is_available = is_initialized = staticmethod(lambda: True)
    _is_in_bad_fork = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    manual_seed_all = staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])

_Generator = torch.Generator
class Generator(_Generator):
    def __new__(cls, device='cpu'): return super().__new__(cls)

_library = torch.library.Library('_', 'IMPL')
def start():
    "From here on torch.device('pretend') exists in this process."
    _setup_privateuseone_for_python_backend('pretend', backend_module=Module())
    _library.fallback(run, 'PrivateUse1')
    torch.Generator = Generator
    torch.__future__.set_swap_module_params_on_conversion(True)
    for name in ('tensor', 'as_tensor'):                                                          # these go around the dispatcher
        def make(data, *args, device=None, f=getattr(torch, name), **kwargs):
            if isinstance(data, Held): return data.to(device=device or data.device, **kwargs)
            if device is None or torch.device(device).type != 'pretend': return f(data, *args, device=device, **kwargs)
            return f(tree_map(held, data), *args, **kwargs).to(device)
        setattr(torch, name, make)


def everything(device, folder):
    "Numbers of training, evaluation, one-shot heads, rendering, editing and exploring on a device."
    from PIL import Image
    from featurenerf.editing import feature_part, image_labels, part_map, recolour, seen_texture, surface_part, swap_texture, tint
    from featurenerf.evaluation import TeacherMethod, evaluate, field_methods, novel_view_quality
    from featurenerf.explore import Explorer, Look
    from featurenerf.in_the_wild import reconstruct, turn
    from featurenerf.model import Config, FeatureNeRF
    from featurenerf.one_shot import one_shot_iou
    from featurenerf.shapes import shapes
    from featurenerf.skipping import skipping
    from featurenerf.teachers import load_teacher
    from featurenerf.training import TrainConfig, fit
    scenes = shapes('chair', 'train', n_objects=4, n_views=3, size=32, n_jobs=1, progress=False)
    teacher, out = load_teacher('shapes'), {}
    def trained(steps, variant='paper', **kw):
        torch.manual_seed(0)
        model = FeatureNeRF(Config.variant(variant, hidden=16, feature_dim=teacher.dim, n_coarse=8, n_importance=4, n_depth=4, encoder='small', encoder_weights='scratch', **kw))
        cfg = TrainConfig.variant(variant, steps=steps, objects=2, rays=32, log_every=1, save_every=1, clip=1., amp='off')
        return model, [h['loss'] for h in fit(model, scenes, teacher, cfg, folder/f'{device}-{variant}', device, progress=False)]
    trained(2)
    model, out['loss, resumed'] = trained(4)
    out['loss, the authors\' code'] = trained(2, 'official', bounds=(1.5, 2.5))[1]
    methods = {'teacher': TeacherMethod(teacher), **field_methods(model)}
    r = evaluate(methods, scenes, 3, progress=False) | novel_view_quality({'field': model}, scenes, 3, progress=False) | one_shot_iou(model, scenes, 3, tasks=('same', '3d'), progress=False)
    out |= {f'{m}, {c}': v.tolist() for m, columns in r.values.items() for c, v in columns.items()}
    s, camera = scenes[0], scenes[0].cameras[1].to(device)
    with torch.no_grad(): cond = model.encode(s.images(views=[0])[None].to(device), s.cameras[None, :1].to(device))
    part = feature_part(*image_labels(model, cond, s.cameras[0].to(device), s.parts[0], min_acc=0.), int(s.parts[0].max()))
    in_space = surface_part(s.points.to(device), s.point_parts.to(device), 1)
    edits = {'skipping': skipping(model, cond, 8), 'tint': recolour(in_space, tint((1, 0, 0))), 'swap': swap_texture(part, *seen_texture(model, cond, min_weight=0.))}
    for name, edit in {'plain': None, **edits}.items(): out[f'image, {name}'] = model.render_image(camera, cond, edit=edit)['rgb'].cpu().flatten().tolist()
    out['part map'] = part_map(model, camera, cond, part).cpu().flatten().tolist()
    explorer = Explorer(scenes, model, teacher=teacher)
    for f in explorer.features: out[f'found, {f}'] = [m.similarity for m in explorer.match(Look(0, 0), (16., 16.), [Look(1, 0), Look(2, 1)], f)]
    Image.fromarray(s.rgba[0].numpy()).save(folder/'photo.png')
    out['photo'] = turn(model, reconstruct(model, folder/'photo.png', size=32), [40.])[0]['rgb'].flatten().tolist()
    return out

if __name__ == '__main__':
    folder = Path(sys.argv[1])
    start()
    on_cpu, before = everything('cpu', folder), operations
    there = everything('pretend', folder)
    assert before == 0 and operations > 10_000, (before, operations)
    assert list(on_cpu) == list(there)
    chosen = ('mIoU', 'kp@', 'swap', 'part map')                                                  # by the nearest of many: a tie falls as the last digit says
    for k in on_cpu:
        a, b = (torch.tensor(x[k]).nan_to_num(-1.) for x in (on_cpu, there))
        off = (a - b).abs()
        if any(c in k for c in chosen): assert off.mean() <= .02*a.abs().mean(), f'{k}: {a.tolist()} and {b.tolist()}'
        else: assert off.max() <= 1e-5*max(1., a.abs().max()), f'{k}: differs by {off.max()}'
    try: torch.ones(2, device='pretend') + torch.ones(2)
    except RuntimeError as e: assert 'two devices' in str(e)
    else: raise AssertionError('the pretend device takes tensors of the CPU')
    print(f'{len(on_cpu)} results agree, {operations} operations on the pretend device')
