"The README is true: its numbers stand in committed results, its links lead somewhere, it is what index.ipynb says."
import json, re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT/'README.md').read_text()


def test_every_result_row_is_in_a_result_file():
    rows = [l for l in README.splitlines() if l.startswith('| ') and '±' in l or re.match(r'\| FeatureNeRF .* minus .* \||\| \w+ \| (shapes|resnet50v2) \|', l)]
    assert len(rows) >= 35, 'the README shows no table of results'
    cells = ROOT/'results'/'experiments'/'cpu'
    known = {l for p in (cells/'chair'/'table.md', cells/'gains.md', cells/'over_place.md') for l in p.read_text().splitlines()}
    for row in rows: assert row in known, f'not in {cells}/chair/table.md, gains.md or over_place.md: {row}'


def test_links_exist():
    for target in re.findall(r'\]\(([^)#]+)\)', README):
        if not target.startswith('http'): assert (ROOT/target).exists(), f'README links to {target}, which does not exist'


def test_readme_is_made_from_index():
    cells = json.loads((ROOT/'nbs'/'index.ipynb').read_text())['cells']
    text = '\n\n'.join(''.join(c['source']) for c in cells)
    text = re.sub(r'\]\((images/[^)]*|[0-9a-z_/]+\.ipynb)\)', r'](nbs/\1)', text)
    text = text.replace('](../', '](')
    squeeze = lambda s: re.sub(r'\s+', ' ', s).strip()
    assert squeeze(text) == squeeze(README), 'run make prepare'
