"The course: every exercise fails as it is handed out, passes with its solution, and notices the wrong answer that the instructor's page lists."
import functools, json, re
from pathlib import Path
import pytest

COURSE = Path(__file__).parent.parent/'nbs'/'course'
LESSONS = sorted(COURSE.glob('[0-9]_*.ipynb'))
BLOCK = re.compile(r'~~~python\n(.*?)~~~', re.S)


def cells(path): return [dict(c, source=''.join(c['source']), tags=c['metadata'].get('tags', [])) for c in json.loads(path.read_text())['cells']]


def exercises(path):
    "number -> (code as handed out, check, solution) of a lesson, in order."
    out, code, check = {}, None, None
    for c in cells(path):
        if 'exercise' in c['tags']: code = c['source']
        elif 'check' in c['tags']: check = c['source']
        elif 'solution' in c['tags']:
            out[re.search(r"@check\('(\d\.\d)", check)[1]] = code, check, BLOCK.search(c['source'])[1]
            code = check = None
    return out


def wrong_answers():
    "number -> (wrong code, what the check says to it), from the instructor's page."
    text = '\n'.join(c['source'] for c in cells(COURSE/'instructor.ipynb'))
    found = re.findall(r'#### (\d\.\d) [^\n]*\n(.*?)(?=\n#+ |\Z)', text, re.S)
    return {n: (BLOCK.search(body)[1], re.search(r'The check says: \*(.*?)\*', body)[1]) for n, body in found}


ALL = [pytest.param(path, n, id=n) for path in LESSONS for n in exercises(path)]


@functools.cache
def prepared(path):
    "The names that a lesson's checks may use: those of its cells tagged setup."
    names = {}
    for c in cells(path):
        if 'setup' in c['tags']: exec(compile(c['source'], f'{path.name}, setup', 'exec'), names)
    return names


def run(path, answer, check):
    names = dict(prepared(path))
    exec(compile(answer, f'{path.name}, answer', 'exec'), names)
    exec(compile(check, f'{path.name}, check', 'exec'), names)


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    monkeypatch.setenv('FEATURENERF_CHECK', 'strict'); monkeypatch.setenv('MPLBACKEND', 'agg')


@pytest.mark.parametrize('path, n', ALL)
def test_exercise(path, n):
    code, check, solution = exercises(path)[n]
    wrong, says = wrong_answers()[n]
    with pytest.raises(NotImplementedError): run(path, code, check)
    run(path, solution, check)
    with pytest.raises(AssertionError, match=re.escape(says)): run(path, wrong, check)


def test_there_are_five_lessons_and_their_answers():
    assert [p.name[0] for p in LESSONS] == list('12345')
    numbers = [n for p in LESSONS for n in exercises(p)]
    assert numbers == [f'{p.name[0]}.{k + 1}' for p in LESSONS for k in range(len(exercises(p)))] and set(wrong_answers()) == set(numbers)


@pytest.mark.parametrize('path', LESSONS, ids=lambda p: p.stem)
def test_lesson_is_whole(path):
    cs = cells(path)
    tags = [t for c in cs for t in c['tags']]
    n = tags.count('exercise')
    assert n >= 3 and tags.count('check') == tags.count('solution') == len(exercises(path)) == n
    picture = next(i for i, c in enumerate(cs) if any('image/png' in o.get('data', {}) for o in c.get('outputs', [])))
    assert picture < next(i for i, c in enumerate(cs) if 'exercise' in c['tags']), 'a picture comes before the first exercise'
    assert all('raise NotImplementedError' in c['source'] for c in cs if 'exercise' in c['tags'])
    assert all('<details><summary>Solution</summary>' in c['source'] for c in cs if 'solution' in c['tags'])
    text = '\n'.join(c['source'] for c in cs if c['cell_type'] == 'markdown')
    assert '## What could go wrong' in text and '## Where to read on' in text
    for link in re.findall(r'\]\(([\w./]+\.ipynb)\)', text): assert (COURSE/link).exists(), link


@pytest.mark.slow
@pytest.mark.parametrize('path', LESSONS, ids=lambda p: p.stem)
def test_solved_lesson_runs(path, tmp_path, monkeypatch):
    "From top to bottom with the solutions in, as the best student leaves it, in less than three minutes of computing."
    import nbformat, resource
    from nbclient import NotebookClient
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])         # seconds; a busy machine does not count
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    nb, solutions, start = nbformat.read(path, 4), exercises(path), used()
    answers = {code: solution for code, _, solution in solutions.values()}
    for c in nb.cells: c.source = answers.get(c.source, c.source) if not re.search(r'^#\|\s*eval: false', c.source, re.M) else ''
    NotebookClient(nb, timeout=600, resources={'metadata': {'path': str(COURSE)}}).execute()
    nbformat.write(nb, tmp_path/path.name)
    print(f'{path.stem}: {used() - start:.0f} s of one core')
    assert 2 < used() - start < 180
