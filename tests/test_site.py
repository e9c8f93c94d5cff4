"""The site: every notebook and every exported name has its page, what the questions' answers tell people to type exists and runs, and (slow)
the site as built: no broken link or picture, nothing from elsewhere, no error in the browser, no page wider than a phone."""
import ast, functools, http.server, importlib.util, json, os, re, shutil, subprocess, sys, threading
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit
import pytest

ROOT = Path(__file__).parent.parent
MISSING = [n for n in ('mkdocs', 'material', 'math_core', 'yaml') if not find_spec(n)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; pip install '.[docs]'")
CHROME = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ('--headless=new --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage '
         '--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --force-device-scale-factor=1').split()


@pytest.fixture(scope='module')
def hooks():
    spec = importlib.util.spec_from_file_location('site_hooks', ROOT/'docs/hooks.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(nav): return [nav] if isinstance(nav, str) else [x for item in (nav.values() if isinstance(nav, dict) else nav) for x in leaves(item)]


def test_everything_is_in_the_navigation_once(hooks):
    import yaml
    pages = leaves(hooks.expand(yaml.safe_load((ROOT/'mkdocs.yml').read_text())['nav']))
    files = [*hooks.notebooks(), *hooks.modules(), *hooks.texts(), *(p.relative_to(ROOT).as_posix() for p in (ROOT/'docs').glob('*.md'))]
    assert len(hooks.notebooks()) > 40 and sorted(pages) == sorted([hooks.page_of(f) for f in files] + ['api/index.md'])
    with pytest.raises(ValueError, match='no file of the repository is like'): hooks.expand(['nbs/no_such_*.ipynb'])


def test_a_cell_as_markdown(hooks):
    assert hooks.cell_code('#| export\nx = 1', 'rays') == '```python title="featurenerf.rays"\nx = 1\n```'
    assert hooks.cell_code('#| default_exp rays', 'rays') == '' and hooks.cell_code('s = """\n```\n"""', '').startswith('````python')
    out = lambda **data: hooks.output(dict(output_type='display_data', data=data), lambda data, ext: f'{data!r}.{ext}')
    assert out(**{'image/png': 'YWI=', 'text/plain': '<Figure>'}) == "b'ab'.png" and out(**{'text/plain': '3'}) == '```{.text .output}\n3\n```'
    assert out(**{'application/vnd.jupyter.widget-view+json': {}, 'text/plain': ' 0%|     |'}) == ''
    assert '<\\/b>' in out(**{'application/vnd.plotly.v1+json': dict(data=['</b>'], layout={}, config={})})
    assert hooks.output(dict(output_type='stream', name='stderr', text=['note']), None) == ''


def test_api_names_all_that_is_exported(hooks):
    for file in hooks.modules():
        source, page = (ROOT/file).read_text(), hooks.module_page(file)
        names = next(ast.literal_eval(n.value) for n in ast.parse(source).body if isinstance(n, ast.Assign) and n.targets[0].id == '__all__')
        for name in names: assert page.count(f'{{#{name}}}') == 1, f'{file}: {name}'
        assert page.count('{.source}') >= len(names)


@pytest.mark.parametrize('path', ['cameras.project', 'sampling.importance', 'rendering.render_rays', 'matching.nearest_match'])
def test_api_says_what_the_code_says(hooks, path):
    "The same comments as fastcore reads from the running function."
    from fastcore.docments import docments
    module, name = path.split('.')
    f = getattr(importlib.import_module(f'featurenerf.{module}'), name)
    source = (ROOT/f'featurenerf/{module}.py').read_text()
    node = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name)
    rows, returns = hooks.parameters(node, hooks.comments(source))
    want = {k: (v or '').strip() for k, v in docments(f).items()}
    assert {r[0]: r[3] for r in rows} | {'return': returns} == want and any(want.values())


def test_comments_of_every_form(hooks):
    source = """def f(a, b=1, # both
    *c, # many
): # the result
    "Doc."
def g(self, x): # another result
    return x
def h(x): return x # no comment of the result
"""
    read = lambda i: hooks.parameters(ast.parse(source).body[i], hooks.comments(source))
    assert read(0) == ([('a', '', '', ''), ('b', '', '1', 'both'), ('*c', '', '', 'many')], 'the result')
    assert read(1) == ([('x', '', '', '')], 'another result') and read(2) == ([('x', '', '', '')], '')
    assert hooks.plain('`a*b` of *c*') == '<code>a&#42;b</code> of &#42;c&#42;'


def blocks(lang): return [b for p in sorted((ROOT/'docs').glob('*.md')) for b in re.findall(rf'^```{lang}\n(.*?)^```', p.read_text(), re.S | re.M)]


def test_commands_exist(hooks):
    from featurenerf import experiments
    makefile, settings, seen = (ROOT/'Makefile').read_text(), (ROOT/'settings.ini').read_text(), []
    for line in '\n'.join(blocks('sh')).splitlines():
        word, *rest = line.split('#')[0].split() or ['export']
        seen.append(word)
        if word == 'make': assert all(re.search(rf'^{t}:', makefile, re.M) for t in rest), line
        elif word == 'papermill':
            cells = json.loads((ROOT/next(w for w in rest if w.endswith('.ipynb'))).read_text())['cells']
            names = re.findall(r'^(\w+) *=', next(''.join(c['source']) for c in cells if 'parameters' in c['metadata'].get('tags', [])), re.M)
            for i, w in enumerate(rest):
                if w == '-p': assert rest[i+1] in names, line
        elif word == 'python': assert (ROOT/rest[0]).is_file(), line
        elif word == 'featurenerf':
            assert rest[:3] == ['experiments', '--categories', 'chair'] and rest[rest.index('--methods') + 1] in experiments.METHODS, line
        else: assert word == 'export', f'a command that this test does not know: {line}'
    assert {'make', 'papermill', 'python', 'featurenerf'} <= set(seen)
    text = '\n'.join(p.read_text() for p in (ROOT/'docs').glob('*.md'))
    text += (ROOT/'README.md').read_text() + (ROOT/'nbs/course/instructor.ipynb').read_text()
    found = [e for m in re.findall(r"install '\.\[([\w,]+)\]'", text) for e in m.split(',')]
    assert {'notebooks', 'teachers', 'distributed'} <= set(found)
    for extra in found: assert f'{extra}_requirements' in settings, extra
    assert 'rembg[cpu]' in (ROOT/'featurenerf/in_the_wild.py').read_text()


def test_answers_in_python_run(tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image
    im = np.full((80, 60, 3), 255, np.uint8); im[20:70, 15:45] = 90
    Image.fromarray(im).save(tmp_path/'my_chair.png')
    monkeypatch.chdir(tmp_path)
    assert len(blocks('python')) >= 3
    for code in blocks('python'): exec(compile(code.replace('n=12', 'n=2'), 'docs', 'exec'), {})
    assert Image.open('turned.gif').n_frames == 2


# the built site ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The folder of the built site; FEATURENERF_SITE names one that is there already."
    if there := os.environ.get('FEATURENERF_SITE'): return Path(there)
    folder = tmp_path_factory.mktemp('site')
    run = subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', '-q', '-d', str(folder)], cwd=ROOT, capture_output=True, text=True,
                         env=dict(os.environ, NO_MKDOCS_2_WARNING='1', HTTPS_PROXY='http://127.0.0.1:9', HTTP_PROXY='http://127.0.0.1:9'))  # no network
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


class Page(HTMLParser):
    "Addresses, ids, and the text outside code of a page."
    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.ids, self.text, self.skip, self.alts = [], [], set(), [], 0, []
        self.feed(path.read_text())
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ('id', 'name') if a.get(k)}
        if tag == 'a' and a.get('href'): self.links.append(a['href'])
        if tag in ('img', 'script', 'iframe', 'source') and a.get('src'): self.loads.append(a['src'])
        if tag == 'link' and a.get('href') and a.get('rel') not in ('prev', 'next', 'canonical'): self.loads.append(a['href'])
        if tag == 'img': self.alts.append(a.get('alt'))
        self.skip += tag in ('code', 'pre', 'script', 'style', 'math')
    def handle_endtag(self, tag): self.skip -= tag in ('code', 'pre', 'script', 'style', 'math')
    def handle_data(self, data): self.text.append('' if self.skip else data)


@pytest.fixture(scope='module')
def pages(site): return {p: Page(p) for p in sorted(site.rglob('*.html')) if p.name != '404.html'}


@pytest.mark.slow
@pytest.mark.xdist_group('site')
def test_every_page_is_there(site, hooks):
    for file in [*hooks.notebooks(), *hooks.modules(), *hooks.texts()]:
        html = site/re.sub('README.html$', 'index.html', hooks.page_of(file)[:-3] + '.html')
        assert html.stat().st_size > 5000, file
    for file in hooks.notebooks(): # every picture of every notebook is shown
        n = sum('image/png' in o.get('data', {}) or 'image/gif' in o.get('data', {}) for c in json.loads((ROOT/file).read_text())['cells'] for o in c.get('outputs', []))
        assert (site/hooks.page_of(file)).with_suffix('.html').read_text().count('class="figure"') == n, file


@pytest.mark.slow
@pytest.mark.xdist_group('site')
def test_links_and_pictures(site, pages):
    wrong = []
    for path, page in pages.items():
        for url in page.links + page.loads:
            u = urlsplit(url)
            if u.scheme: wrong += [(path, url)] * (url in page.loads); continue        # links may leave the site, what a page loads may not
            target = (path.parent/unquote(u.path)).resolve() if u.path else path
            if not target.is_file() or not target.is_relative_to(site.resolve()): wrong.append((path, url))
            elif u.fragment and target in pages and unquote(u.fragment) not in pages[target].ids and not u.fragment.startswith('__'): wrong.append((path, url))
        assert all(page.alts), f'{path.name}: a picture without a word for those who cannot see it'
    assert not wrong, '\n'.join(f'{p.relative_to(site)}: {u}' for p, u in wrong[:40])


@pytest.mark.slow
@pytest.mark.xdist_group('site')
def test_nothing_is_left_of_markdown(pages, site):
    left = re.compile(r'FORMULA\d|\$\$|\]\([\w./]+\)|~~~|```|^\|.*\|\s*$|^#{1,4} |^[-*] \w|\\(frac|mathbf|sum)', re.M)
    found = [f'{p.relative_to(site)}: {m[0]!r} in {"".join(page.text)[max(0, m.start() - 60):m.end() + 60]!r}' for p, page in pages.items() for m in [left.search(''.join(page.text))] if m]
    assert not found, '\n'.join(found)


@pytest.fixture(scope='module')
def browser(site):
    "A headless Chromium that knows no other machine, and the site's address."
    missing = [n for n, there in (('selenium', find_spec('selenium')), ('chromium', CHROME), ('chromedriver', shutil.which('chromedriver'))) if not there]
    if missing: pytest.skip(f'not installed: {", ".join(missing)}')
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    for f in [*FLAGS, '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']: options.add_argument(f)
    options.binary_location = CHROME
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which('chromedriver')))
    driver.set_page_load_timeout(120)
    yield driver, f'http://127.0.0.1:{server.server_port}/'
    driver.quit()
    server.shutdown()


def until(f, what, seconds=60):
    import time
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if x := f(): return x
        time.sleep(.05)
    raise AssertionError(f'not within {seconds} s: {what}')


def sized(driver, width, dark=False):
    driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=width, height=844, deviceScaleFactor=1, mobile=width < 500))
    driver.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[dict(name='prefers-color-scheme', value='dark' if dark else 'light')]))


@pytest.mark.slow
@pytest.mark.xdist_group('site')
def test_every_page_on_a_phone(browser, pages, site):
    driver, url = browser
    sized(driver, 390)
    wrong = []
    for path in pages:
        name = path.relative_to(site).as_posix()
        driver.get(url + name)
        driver.execute_script("document.querySelectorAll('img[loading]').forEach(i => i.loading = 'eager')")
        until(lambda: driver.execute_script("return document.readyState == 'complete' && [...document.images].every(i => i.complete)"), f'{name} is loaded')
        if broken := driver.execute_script('return [...document.images].filter(i => !i.naturalWidth).map(i => i.src)'): wrong.append(f'{name}: pictures {broken}')
        if (wide := driver.execute_script('return document.documentElement.scrollWidth')) > 390: wrong.append(f'{name}: {wide} wide')
        small = driver.execute_script("return Math.min(...[...document.querySelectorAll('article p, article li, article td')].map(e => parseFloat(getComputedStyle(e).fontSize)))")
        if small and small < 12: wrong.append(f'{name}: text of {small} pixels')
        if driver.execute_script("return !!document.querySelector('.plotly-figure')"):
            until(lambda: driver.execute_script("return !!document.querySelector('.plotly-figure .main-svg')"), f'{name}: its plotly figure')
        wrong += [f"{name}: {e['message']}" for e in driver.get_log('browser') if e['level'] == 'SEVERE']
    assert not wrong, '\n'.join(wrong)


@pytest.mark.slow
@pytest.mark.xdist_group('site')
def test_light_and_dark(browser):
    driver, url = browser
    scheme = lambda: driver.execute_script("return document.body.getAttribute('data-md-color-scheme')")
    bright = lambda: sum(map(int, re.findall(r'\d+', driver.execute_script('return getComputedStyle(document.body).backgroundColor'))[:3]))
    sized(driver, 1300)
    driver.get(url + 'faq.html')
    driver.execute_script('localStorage.clear()'); driver.refresh()
    assert scheme() == 'default' and bright() > 700
    driver.find_element('css selector', 'label[title=dark]:not([hidden])').click()
    until(lambda: scheme() == 'slate' and bright() < 150, 'dark after a click')
    driver.get(url + 'index.html')
    assert scheme() == 'slate', 'the choice is remembered'
    driver.execute_script('localStorage.clear()')


@pytest.mark.slow
@pytest.mark.xdist_group('site')
@pytest.mark.parametrize('how', ['served', 'from a folder'])
def test_search(browser, site, how):
    driver, url = browser
    sized(driver, 1300)
    driver.get((url if how == 'served' else f'file://{site}/') + 'index.html')
    field = driver.find_element('css selector', 'input.md-search__input')
    driver.find_element('css selector', 'label[for=__search].md-search__icon').click() if not field.is_displayed() else field.click()
    hits = lambda: driver.execute_script("return [...document.querySelectorAll('.md-search-result__link')].map(a => a.getAttribute('href'))")
    both = lambda: any('nbs/02_rendering' in h for h in hits()) and any('api/rendering' in h for h in hits())
    def ask(): # typed again until the index is read
        field.clear(); field.send_keys('render_weights')
        try: return until(both, 'an answer', 5)
        except AssertionError: return False
    until(ask, f'the notebook and the API found ({how})')
    assert not [e for e in driver.get_log('browser') if e['level'] == 'SEVERE']
