#!/usr/bin/env python
"""Make the weights that come with the package from a finished run.

    python data_scripts/ship_model.py runs/experiments/cpu/chair/seed0/shapes shapes-chair \\
        --results results/experiments/cpu/chair/shapes-seed0.json

RUN is a folder written by train_model (history.json, config.json, model.safetensors), RESULTS the result file of the same
run. Writes featurenerf/weights/NAME: config.json, model.safetensors in half precision, and README.md, a card that says
which run it is. Renders test objects with both precisions first and refuses to write if they disagree, or if all shipped
models together would be larger than 15 MB. Then FeatureNeRF.from_pretrained(NAME) works without a network.
"""
import argparse, copy, hashlib, json, re, shutil, tempfile
from pathlib import Path
import torch, torch.nn.functional as F
from safetensors.torch import load_file, save_file
from featurenerf.metrics import psnr
from featurenerf.model import FeatureNeRF
from featurenerf.shapes import CATEGORIES, SHAPES_NAME, shapes

HERE, LIMIT = Path(__file__).resolve().parent.parent/'featurenerf'/'weights', 15e6


def half(run, folder):
    "config.json and model.safetensors of `run` in half precision."
    shutil.copy(run/'config.json', folder/'config.json')
    state = {k: v.half() if v.is_floating_point() else v for k, v in load_file(run/'model.safetensors').items()}
    if bad := [k for k, v in state.items() if not torch.isfinite(v).all()]: raise ValueError(f'{run}: {bad} do not fit into half precision')
    save_file(state, folder/'model.safetensors', {'format': 'pt'})


def agreement(a, b, scenes):
    "PSNR in dB and mean cosine of v_NeRF between two models' renders of a view that was not given."
    db, cosine = [], []
    for s in scenes:
        maps = []
        for m in (a, b):
            with torch.no_grad(): cond = m.encode(s.images(views=[0])[None], s.cameras[None, :1])
            maps.append(m.render_image(s.cameras[1], cond, ('rgb', 'v_nerf')))
        x, y = maps
        db.append(psnr(x['rgb'].movedim(-1, 0)[None], y['rgb'].movedim(-1, 0)[None]).mean().item())
        cosine.append(F.cosine_similarity(x['v_nerf'], y['v_nerf'], dim=-1)[x['acc'] > .5].mean().item())
    return sum(db) / len(db), sum(cosine) / len(cosine)


def summary(results):
    "The run's main numbers as a markdown table; empty without results."
    if not results: return ''
    m = next(iter(json.loads(results.read_text())['results']['metrics'].values()))
    keep = [c for c in m if re.search(r'(mIoU|kp@10|kp@0\.1|PSNR|SSIM)$', c)]
    lines = [f'| {c} | {m[c]["mean"]:.{3 if "SSIM" in c else 1}f} | {m[c]["pairs"][0]:.{3 if "SSIM" in c else 1}f} to {m[c]["pairs"][1]:.{3 if "SSIM" in c else 1}f} |' for c in keep]
    return '\n'.join(['', 'Measured on its test split (as trained, in full precision; 95% intervals over pairs):', '', '| | mean | interval |', '|---|---|---|', *lines, ''])


def card(name, run, results, command, db, cosine):
    "README.md of a shipped model."
    history = json.loads((run/'history.json').read_text())
    made, r = history['made'], history['run']
    c, hw = r['model'], made['hardware']
    if results: command = json.loads(results.read_text())['command']
    facts = {'Category': c['category'], 'Data': f'{r["data"]}, train split, {len(r["scenes"])} objects', 'Teacher': f'{c["teacher"] or "none"} ({r["teacher"]})',
             'Command': f'`{command}`', 'Commit': made['commit'], 'Seed': r['train']['seed'], 'Steps': r['train']['steps'],
             'Time': f'{made["seconds"]} s on {hw["gpu"] or hw["cpu"]}, {hw["threads"]} thread(s)', 'PyTorch': hw['torch'],
             'Full precision': f'model.safetensors sha256 {hashlib.sha256((run/"model.safetensors").read_bytes()).hexdigest()[:12]}',
             'Half precision agrees': f'{db:.0f} dB PSNR, cosine of v_NeRF {cosine:.6f} (test objects, rendered from a new view)', 'Licence': 'Apache-2.0'}
    table = '\n'.join(f'| {k} | {v} |' for k, v in facts.items())
    return (f'# {name}\n\nA FeatureNeRF trained on synthetic {c["category"]}s made by this package, and on nothing else: for trying things out, teaching and tests. '
            f'It has not seen a photograph.\n\n```python\nfrom featurenerf.model import FeatureNeRF\nmodel = FeatureNeRF.from_pretrained({name!r})\n```\n\n| | |\n|---|---|\n{table}\n{summary(results)}'
            f'\nMade by `python data_scripts/ship_model.py`.\n')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('run', type=Path, metavar='RUN'); p.add_argument('name', metavar='NAME')
    p.add_argument('--results', type=Path, help='result file of this run, for the command and the numbers on the card')
    p.add_argument('--command', help='how the run was made, if there is no result file')
    p.add_argument('--to', type=Path, default=HERE, help='folder of shipped models')
    a = p.parse_args()
    if not (a.results or a.command): p.error('give --results or --command: the card says how the run was made')
    if missing := [f for f in ('history.json', 'config.json', 'model.safetensors') if not (a.run/f).is_file()]:
        p.error(f'{a.run} holds no {missing[0]}; expected the folder of a finished run of train_model')
    if not re.fullmatch(r'[a-z0-9][\w.-]*', a.name): p.error(f'NAME is {a.name!r}, expected lower-case letters, digits and dashes, such as shapes-chair')
    if a.results and not a.results.is_file(): p.error(f'{a.results} does not exist; expected the result file of the run')
    made, said = json.loads((a.run/'history.json').read_text())['made'], json.loads(a.results.read_text()).get('training') if a.results else None
    if said and any(said[k] != made[k] for k in made): p.error(f'{a.results} is the result of another run than {a.run} (commit, machine or seconds differ)')
    original = FeatureNeRF.from_pretrained(a.run)
    category = original.config.category if original.config.category in CATEGORIES else 'chair'
    scenes = shapes(category, 'test', n_objects=20, n_views=2, size=64, n_jobs=1, progress=False)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp); half(a.run, tmp)
        db, cosine = agreement(original, FeatureNeRF.from_pretrained(tmp), scenes)
        print(f'half against full precision: {db:.1f} dB, cosine {cosine:.6f}')
        if db < 45 or cosine < .999: p.error('half precision changes what this model renders (expected at least 45 dB and a cosine of 0.999); nothing was written')
        (tmp/'README.md').write_text(card(a.name, a.run, a.results, a.command, db, cosine))
        others = sum(f.stat().st_size for d in a.to.glob('*') if d.is_dir() and d.name != a.name for f in d.iterdir())
        size = sum(f.stat().st_size for f in tmp.iterdir())
        if size + others > LIMIT: p.error(f'{size/1e6:.1f} MB beside {others/1e6:.1f} MB already there: more than {LIMIT/1e6:.0f} MB; nothing was written')
        shutil.rmtree(a.to/a.name, ignore_errors=True); shutil.copytree(tmp, a.to/a.name)
        (a.to/a.name).chmod(0o755)                         # a temporary folder is its owner's alone
        for f in (a.to/a.name).iterdir(): f.chmod(0o644)
    print(f'{a.to/a.name}: {size/1e6:.2f} MB; all shipped models {(size + others)/1e6:.2f} MB')


if __name__ == '__main__': main()
