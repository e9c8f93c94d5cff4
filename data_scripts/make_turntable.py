#!/usr/bin/env python
"""The README's moving picture: chairs the shipped model has never seen, turned on the spot.

    python data_scripts/make_turntable.py

Left the one image the model is given of each; then colour, depth and inner features (three principal components, fitted
once for all chairs and frames), rendered from all sides. Needs nothing but the package; about two minutes on one core.
"""
import argparse
from pathlib import Path
import numpy as np, torch
from featurenerf.model import FeatureNeRF
from featurenerf.pictures import fit_colours, side_by_side, turntable_frames, write_film
from featurenerf.shapes import shapes

OUT = Path(__file__).resolve().parent.parent/'nbs'/'images'/'turntable.gif'
TITLES = 'one image', 'colour', 'depth', 'inner features'


def header(width, titles, height=18):
    "Titles above columns of equal width, (height, width, 3) in [0, 1]."
    from PIL import Image, ImageDraw, ImageFont
    im = Image.new('RGB', (width, height), 'white')
    draw, font = ImageDraw.Draw(im), ImageFont.load_default(12)
    for k, t in enumerate(titles): draw.text(((k + .5) * width / len(titles), height / 2), t, fill=(60, 60, 60), font=font, anchor='mm')
    return torch.tensor(np.array(im)) / 255


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--model', default='shapes-chair', help='name or folder, see FeatureNeRF.from_pretrained')
    p.add_argument('--chairs', type=int, nargs='+', default=[14, 12, 21], help='indices in the test split')
    p.add_argument('--frames', type=int, default=24)
    p.add_argument('--size', type=int, default=88, help='pixels of a panel')
    p.add_argument('--fps', type=float, default=8)
    p.add_argument('--out', type=Path, default=OUT, help='ends in .gif or .mp4')
    a = p.parse_args()
    model = FeatureNeRF.from_pretrained(a.model)
    model.config.n_coarse = max(32, model.config.n_coarse) # finer than in training: fewer stripes in what is half transparent
    category = model.config.category
    test = shapes(category, 'test', n_objects=5 * (max(a.chairs) + 2), n_views=1, size=64, n_jobs=1, progress=False)
    some = [test[i] for i in a.chairs]
    with torch.no_grad(): conds = [model.encode(s.images(views=[0])[None], s.cameras[None, :1]) for s in some]
    colours = fit_colours(model, conds)
    rows = []
    for i, (s, cond) in enumerate(zip(some, conds)):
        source = torch.nn.functional.interpolate(s.images(views=[0]), (a.size, a.size), mode='bicubic', antialias=True)[0].permute(1, 2, 0).clamp(0, 1)
        rows.append([side_by_side([source, f]) for f in turntable_frames(model, cond, a.frames, a.size, colours=colours)])
        print(f'chair {i + 1} of {len(some)}', flush=True)
    top = header(rows[0][0].shape[1], TITLES)
    out = write_film([torch.cat([top, *f]) for f in zip(*rows)], a.out, a.fps)
    print(f'{out}: {out.stat().st_size/1e6:.2f} MB')


if __name__ == '__main__': main()
