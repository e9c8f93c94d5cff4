#!/usr/bin/env python
"""Do Blender and the embedded renderer see the same object, and PyTorch3D and embree the same parts? Meshes and embedded shapes, one JSON and a contact sheet.

    python data_scripts/compare_renderers.py MESHES/car MESHES/chair --out agreement.json --sheet sheet.png

What is not installed is left out: Blender (see render_meshes.py --help), PyTorch3D.
"""
import argparse, json, os, platform, subprocess, sys, time
from importlib.metadata import version
from pathlib import Path
import numpy as np, torch
from featurenerf.cameras import fixed_cameras
from featurenerf.datasets import read_meshes
from featurenerf.labels import choose_backend, first_faces, keypoint_views
from featurenerf.meshes import Builder, Material, ellipsoid, render_views
from featurenerf.render_blender import blender_rgba, find_blender
from featurenerf.shapes import make_shape


def timed(f, *args):
    start = time.perf_counter(); out = f(*args)
    return out, time.perf_counter() - start


def compare_labels(mesh, cams):
    "embree and PyTorch3D."
    (a, ta), fast = timed(first_faces, mesh, cams, 'embree')
    (b, tb), slow = timed(first_faces, mesh, cams, 'pytorch3d')
    part = lambda f: torch.from_numpy(np.append(mesh.face_part, 0).astype(int))[f]
    both, seen = (a >= 0) & (b >= 0), keypoint_views(mesh, cams, 'embree')[1]
    out = dict(same_part=(part(a) == part(b)).float().mean().item(), same_mask=((a >= 0) == (b >= 0)).float().mean().item(),
               same_face=(a == b).float().mean().item(), pixels_that_differ=int((part(a) != part(b)).sum()), pixels=a.numel(), object_pixels=int((a >= 0).sum()),
               median_depth_difference=(ta - tb)[both].abs().median().item(), embree_seconds_a_view=fast/len(cams), pytorch3d_seconds_a_view=slow/len(cams))
    if seen.numel(): out['same_visibility'] = (keypoint_views(mesh, cams, 'pytorch3d')[1] == seen).float().mean().item()
    return out


def compare_colours(mesh, cams, samples):
    "Blender and the embedded renderer."
    a, slow = timed(lambda: blender_rgba(mesh, cams, samples, seed=0)); s, fast = timed(lambda: render_views(mesh, cams, seed=0))
    A, B = a[..., 3] > 127, s.depth > 0
    iou = (A & B).sum((1, 2))/(A | B).sum((1, 2)); c = [x[A & B][:, :3].float().flatten().numpy() for x in (a, s.rgba)]
    return dict(mask_iou=iou.mean().item(), mask_iou_of_worst_view=iou.min().item(), colour_correlation=float(np.corrcoef(*c)[0, 1]),
                blender_seconds_a_view_with_start=slow/len(cams), embedded_seconds_a_view=fast/len(cams)), a, s


def sheet_of(rows, path):
    "Blender, embedded, parts: one column an object."
    import matplotlib; matplotlib.use('agg')
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(3, len(rows), figsize=(1.1*len(rows), 3.5), squeeze=False, constrained_layout=True)
    for j, (name, a, s) in enumerate(rows):
        for ax, im in zip(axes[:, j], (a[0], s.rgba[0], np.ma.masked_equal(s.parts[0], 0))):
            ax.imshow(im, cmap='tab10', vmin=1, vmax=10, interpolation='nearest')
            ax.axis('off')
        axes[0, j].set_title(name[:14], fontsize=5)
    fig.savefig(path, dpi=110)


def circumstances(have):
    "Versions, hardware and commit."
    versions, info = dict(python=platform.python_version()), Path('/proc/cpuinfo')
    for n in ('torch', 'numpy', 'trimesh', 'embreex'): versions[n] = version(n)
    if 'pytorch3d' in have: import pytorch3d; versions['pytorch3d'] = pytorch3d.__version__
    if 'blender' in have:
        ask = ['--version'] if Path(find_blender()).name.startswith('blender') else ['-c', 'import bpy; print(bpy.app.version_string)']
        versions['blender'] = subprocess.run([find_blender(), *ask], capture_output=True, text=True).stdout.split('\n')[0]
    cpu = next((l.split(':')[1].strip() for l in info.read_text().splitlines() if l.startswith('model name')), '') if info.exists() else platform.processor()
    git = subprocess.run(['git', '-C', str(Path(__file__).parent), 'describe', '--always', '--dirty'], capture_output=True, text=True).stdout.strip()
    return dict(versions=versions, hardware=f'{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, torch threads {torch.get_num_threads()}', commit=git)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folders', nargs='*', type=Path, help='of meshes')
    p.add_argument('--out', type=Path, required=True, metavar='JSON')
    p.add_argument('--sheet', type=Path, metavar='PNG')
    p.add_argument('--views', type=int, default=4)
    p.add_argument('--size', type=int, default=128, help='pixels')
    p.add_argument('--samples', type=int, default=16, help='light paths a pixel (Blender)')
    a, have = p.parse_args(), []
    for name, f in (('blender', find_blender), ('pytorch3d', lambda: choose_backend('pytorch3d'))):
        try: f(); have.append(name)
        except ImportError as e: print('left out:', e)
    cams = fixed_cameras(a.views, (a.size, a.size)); ball = Builder('ball', ['it']).add('it', ellipsoid(1, n=144), Material((1, 1, 1))).mesh()
    shapes = [(f'shapes {c} {i}', make_shape(c, i)) for c in ('chair', 'airplane', 'car') for i in (3, 4)] + [('ball', ball)]
    real = [(f'{f.name} {m.id}', m) for f in a.folders for m in read_meshes(f)]
    objects, rows = {}, []
    for name, mesh in real + shapes:
        objects[name] = r = dict(faces=len(mesh.faces), parts=list(mesh.part_names))
        if 'pytorch3d' in have: r['labels'] = compare_labels(mesh, cams)
        if 'blender' in have and (name, mesh) in real: r['colours'], rgba, s = compare_colours(mesh, cams, a.samples); rows.append((name, rgba, s))
        print(name, json.dumps({k: v for k, v in r.items() if k != 'parts'}), flush=True)
    def of(k, key): return [o[k][key] for o in objects.values() if k in o and key in o[k]]
    summary = {}
    if differ := of('labels', 'pixels_that_differ'):
        summary |= dict(same_part_of_all_pixels=1 - sum(differ)/sum(of('labels', 'pixels')), same_part_of_worst_object=min(of('labels', 'same_part')),
                        same_face_of_worst_object=min(of('labels', 'same_face')), same_visibility=float(np.mean(of('labels', 'same_visibility'))))
    if iou := of('colours', 'mask_iou'):
        summary |= dict(mean_mask_iou=float(np.mean(iou)), mask_iou_of_worst_object=min(iou), mask_iou_of_worst_view=min(of('colours', 'mask_iou_of_worst_view')))
    command = f"python data_scripts/compare_renderers.py {' '.join(f'MESHES/{f.name}' for f in a.folders)} --views {a.views} --size {a.size} --samples {a.samples} --out {a.out.name}"
    a.out.write_text(json.dumps(dict(summary=summary, command=command, **circumstances(have), objects=objects), indent=1) + '\n')
    if a.sheet and rows: sheet_of(rows, a.sheet)
    print(json.dumps(summary, indent=1))


if __name__ == '__main__': sys.exit(main())
