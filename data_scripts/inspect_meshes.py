#!/usr/bin/env python
"""Look at a folder of meshes before training on it: which names became which parts, and a contact sheet.

    python data_scripts/inspect_meshes.py FOLDER [--category car] [--map 'wheel*=wheel' --map '*=body'] [--up y] [--front +z]

Writes FOLDER.png (or --out): each object from its front (right of centre) and from behind, in colour and by part.
Wrong colours for parts mean a wrong --map; an object that shows its back in the first column means a wrong --front.
"""
import argparse, re, sys
from pathlib import Path
import numpy as np, torch
from featurenerf.cameras import sphere_cameras
from featurenerf.datasets import read_meshes
from featurenerf.meshes import render_views


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--category', default='')
    p.add_argument('--map', action='append', default=[], metavar='PATTERN=PART', help='names to parts, first match wins; inferred if left out')
    p.add_argument('--up', default='y')
    p.add_argument('--front', default='auto', help='axis that the files look along; auto: -y with z up, else +z for glTF and -z for others')
    p.add_argument('--out', type=Path)
    argv = re.sub('(--up|--front)\0(-[xyz])', r'\1=\2', '\0'.join(sys.argv[1:])).split('\0') # argparse takes -z for an option
    a = p.parse_args(argv if len(sys.argv) > 1 else [])
    if bad := [m for m in a.map if '=' not in m]: p.error(f'--map {bad[0]!r}: expected PATTERN=PART')
    meshes = read_meshes(a.folder, a.category, dict(m.split('=', 1) for m in a.map) or None, up=a.up, front=a.front)

    names = meshes[0].part_names
    print(f'{len(meshes)} meshes; area of each part, percent')
    print(f'{"":24}' + ''.join(f'{n:>12}' for n in names))
    for m in meshes:
        t = m.vertices[m.faces]
        area = np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1)
        share = np.bincount(m.face_part, area, len(names) + 1)[1:] / area.sum()
        print(f'{m.id[:23]:24}' + ''.join(f'{100*s:12.1f}' for s in share))

    import matplotlib; matplotlib.use('agg')
    import matplotlib.pyplot as plt
    cams = sphere_cameras(torch.tensor([35., 215.]), torch.tensor([25., 25.]), size=(160, 160))
    fig, axes = plt.subplots(4, len(meshes), figsize=(1.2*len(meshes), 4.8), squeeze=False, constrained_layout=True)
    for j, m in enumerate(meshes):
        s = render_views(m, cams)
        for v in (0, 1):
            axes[2*v, j].imshow(s.images(views=[v])[0].permute(1, 2, 0))
            axes[2*v + 1, j].imshow(np.ma.masked_equal(s.parts[v], 0), cmap='tab10', vmin=1, vmax=10, interpolation='nearest')
        axes[0, j].set_title(m.id, fontsize=6)
    for ax in axes.flat: ax.axis('off')
    out = a.out or a.folder.with_suffix('.png').resolve()
    fig.savefig(out, dpi=110)
    print('contact sheet:', out)


if __name__ == '__main__':
    try: main()
    except (ValueError, FileNotFoundError) as e: sys.exit(f'inspect_meshes: {e}')
