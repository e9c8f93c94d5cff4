#!/usr/bin/env python
"""A folder of meshes to a data set: RGBA, depth, part maps, keypoints, cameras, surface points; see nbs/09b_render_set.ipynb.

    python data_scripts/render_meshes.py MESHES OUT --category car                        # GLB, OBJ, PLY, STL; parts from names
    python data_scripts/render_meshes.py MESHES OUT --map 'wheel*=wheel' --map '*=body'
    python data_scripts/render_meshes.py ShapeNetCore.v2 OUT --category chair --shapenet-part DIR --keypointnet DIR
    python data_scripts/render_meshes.py ShapeNetCore.v1 OUT --category bottle --partnet data_v0 --engine blender
    python data_scripts/render_meshes.py MESHES OUT --shard 3/10                          # on the third of ten machines
    DASK_SCHEDULER_ADDRESS=tcp://HOST:8786 python data_scripts/render_meshes.py MESHES OUT --joblib dask

MESHES may hold a folder named after the category, or its ShapeNet synset. Needs the library; --engine blender needs `pip install bpy`
(Python 3.11) here, or FEATURENERF_BLENDER naming a blender or a Python that has bpy. Can be stopped at any time and started again with the same
arguments: finished objects are checked and kept. Broken meshes are listed at the end and in manifest.json and tried again by the next run.
Exit code 0: all objects there; 2: some are broken.
"""
import argparse, contextlib, json, re, sys
from pathlib import Path
from featurenerf.annotations import KeypointNet, PartNet, ShapeNetPart
from featurenerf.labels import BACKENDS
from featurenerf.layouts import SYNSETS
from featurenerf.render_set import CAMERAS, ENGINES, make_plan, render_set


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('meshes', type=Path)
    p.add_argument('out', type=Path)
    p.add_argument('--category', default='')
    p.add_argument('--views', type=int, default=50)
    p.add_argument('--size', type=int, default=128, help='pixels')
    p.add_argument('--engine', choices=ENGINES, default='embedded')
    p.add_argument('--samples', type=int, default=16, help='light paths a pixel (Blender)')
    p.add_argument('--cameras', choices=CAMERAS, default='auto', help='auto: random for training objects, fixed for the others')
    p.add_argument('--labels', choices=BACKENDS, default='auto', help='who draws part maps; auto: PyTorch3D where installed')
    p.add_argument('--map', action='append', default=[], metavar='PATTERN=PART', help='names to parts, first match wins; inferred if left out')
    p.add_argument('--shapenet-part', type=Path, metavar='DIR', help='parts from ShapeNet-Part')
    p.add_argument('--partnet', type=Path, metavar='DIR', help='parts from PartNet (data_v0), level 1')
    p.add_argument('--keypointnet', type=Path, metavar='DIR', help='keypoints from KeypointNet')
    p.add_argument('--splits', type=Path, metavar='JSON', help='{"train": [ids], "val": ..., "test": ...}; 70/10/20 if left out')
    p.add_argument('--up', default='y')
    p.add_argument('--front', default='auto', help='axis that the files look along; auto: ShapeNet as its version says, -y with z up, glTF +z, others -z')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--shard', default='1/1', metavar='I/N', help='only the I-th of N parts, I from 1')
    p.add_argument('--jobs', type=int, default=-1, help='processes')
    p.add_argument('--joblib', default='', metavar='BACKEND', help='joblib backend such as loky or dask; Dask finds its scheduler by its own configuration')
    argv = re.sub('(--up|--front)\0(-[xyz])', r'\1=\2', '\0'.join(sys.argv[1:])).split('\0') # argparse takes -z for an option
    a = p.parse_args(argv)
    if bad := [m for m in a.map if '=' not in m]: p.error(f'--map {bad[0]!r}: expected PATTERN=PART')
    if a.shapenet_part and a.partnet: p.error('--shapenet-part and --partnet: expected one source of parts')
    if (a.shapenet_part or a.partnet) and a.map: p.error('--map: parts come from the annotations already')
    if (a.shapenet_part or a.partnet or a.keypointnet) and not a.category: p.error('annotations need --category')
    try: a.shard = tuple(map(int, a.shard.split('/'))); i, n = a.shard
    except ValueError: p.error(f'--shard {a.shard!r}: expected I/N')
    if not 1 <= i <= n: p.error(f'--shard {i}/{n}: expected 1 <= I <= N')
    return a


def joblib_backend(name):
    "The place where joblib works."
    if not name: return contextlib.nullcontext()
    import joblib
    if name == 'dask':
        from dask.distributed import Client
        Client()
    return joblib.parallel_config(backend=name)


def main():
    a = arguments()
    folder = next((a.meshes/s for s in (a.category, SYNSETS.get(a.category, '')) if s and (a.meshes/s).is_dir()), a.meshes)
    parts = ShapeNetPart(a.shapenet_part, a.category) if a.shapenet_part else PartNet(a.partnet, a.category) if a.partnet else None
    keypoints = KeypointNet(a.keypointnet, a.category) if a.keypointnet else None
    with joblib_backend(a.joblib):
        plan = make_plan(folder, a.category, a.views, a.size, a.engine, a.samples, a.labels, a.cameras, dict(m.split('=', 1) for m in a.map) or None,
                         parts and parts.part_names, keypoints.keypoint_names if keypoints else (), json.loads(a.splits.read_text()) if a.splits else None,
                         a.up, a.front, a.seed, a.jobs)
        print(f"{len(plan['files'])} meshes ({plan['layout']}), parts {', '.join(plan['part_names'])}, {a.views} views of {a.size} pixels, "
              f"colours by {a.engine}, labels by {plan['backend']}")
        r = render_set(plan, folder, a.out, a.shard, [s for s in (parts, keypoints) if s], a.jobs, progress=True)
    print(f'{len(r.made)} rendered, {len(r.kept)} there already, {len(r.broken)} broken; {a.out/"manifest.json"}')
    for title, of in (('warnings', {i: '; '.join(w) for i, w in r.warnings.items()}), ('broken', r.broken)):
        if of: print(f'{title}:', *(f'  {i}: {said}' for i, said in sorted(of.items())), sep='\n')
    return 2 if r.broken else 0


if __name__ == '__main__':
    try: sys.exit(main())
    except (ValueError, FileNotFoundError, ImportError, KeyError) as e: sys.exit(f'render_meshes: {e}')
