#!/usr/bin/env python
"""One table from the runs of several seeds.

    python data_scripts/combine_seeds.py results/chair-resnet50v2/seed*

Each folder is an out_dir of nbs/train_chair.ipynb (metrics.json and pairs.json). The runs must have answered the same
pairs. Prints the table and writes combined.json and combined.md beside the folders: means over seeds and pairs, 95%
intervals over pairs and over objects, the spread over seeds, paired differences, and the commands and commits behind them.
"""
import argparse, json
from pathlib import Path
import numpy as np
from featurenerf.evaluation import Results, combine
from featurenerf.runs import summary_table, write_json

COLUMNS = '2D same mIoU', '2D different mIoU', '3D mIoU'
AGAINST = 'NeRF feature', 'teacher', 'FeatureNeRF, output v'


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('runs', type=Path, nargs='+')
    a = p.parse_args()
    if missing := [r for r in a.runs if not (r/'pairs.json').exists()]:
        p.error(f'{missing[0]} holds no pairs.json; expected an out_dir of nbs/train_chair.ipynb')
    records = [json.loads((r/'metrics.json').read_text()) for r in a.runs]
    both = combine([Results.from_json(r/'pairs.json') for r in a.runs])
    images = [c for c in both.columns if c.startswith('image')]
    split = lambda keep: Results(both.dataset, both.category, {m: {c: v for c, v in cs.items() if (c in images) == keep} for m, cs in both.values.items()},
                                 {t: q for t, q in both.pairs.items() if (t == 'image') == keep})
    quality = split(True)
    quality.values = {m: v for m, v in quality.values.items() if v}
    results = split(False)
    results.values = {m: v for m, v in results.values.items() if v}
    text = [f'{both.dataset}, {both.category}: preset {records[0]["parameters"]["preset"]}, teacher {records[0]["teacher"]["name"]}, '
            f'{len(records)} seeds. ± is half a 95% interval over pairs, values averaged over seeds.', '', summary_table(results, quality), '',
            '| FeatureNeRF minus | column | difference | 95%, pairs drawn again | 95%, objects drawn again | each seed |', '|---|---|---|---|---|---|']
    differences = {}
    for b in AGAINST:
        for c in COLUMNS:
            m, lo, hi = results.difference('FeatureNeRF', b, c)
            _, lo2, hi2 = results.difference('FeatureNeRF', b, c, by='objects')
            each = both.each_seed('FeatureNeRF', b, c).round(1).tolist()
            differences[f'FeatureNeRF - {b}, {c}'] = dict(mean=round(m, 2), pairs=[round(lo, 2), round(hi, 2)], objects=[round(lo2, 2), round(hi2, 2)], seeds=each)
            text.append(f'| {b} | {c} | {results.difference_cells("FeatureNeRF", b, c)} | {", ".join(f"{x:+.1f}" for x in each)} |')
    gain = [np.mean(both.values['FeatureNeRF']['image PSNR'] - both.values['mean of other objects, same camera']['image PSNR'])] \
        if 'mean of other objects, same camera' in both.values else []
    if gain: text += ['', f'Novel-view PSNR above the mean of the other test objects from the same camera: {gain[0]:+.2f} dB.']
    out = a.runs[0].parent
    write_json(out/'combined.json', dict(runs=[dict(folder=r.name, **{k: m[k] for k in ('command', 'parameters', 'commit', 'hardware', 'seconds', 'data', 'teacher')})
               for r, m in zip(a.runs, records)], differences=differences, results=json.loads(both.to_json())))
    (out/'combined.md').write_text('\n'.join(text) + '\n')
    print('\n'.join(text))


if __name__ == '__main__': main()
