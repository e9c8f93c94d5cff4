"The library reads other people's files. It never runs what is in them, and never unpacks an archive onto the disk."
import ast
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob('featurenerf/*.py'), *ROOT.glob('data_scripts/*.py')])
RUN = {'eval', 'exec', 'compile', '__import__'}                                     # functions that run text
SHELL = {'os.system', 'os.popen', 'subprocess.getoutput', 'subprocess.getstatusoutput'}
UNPACK = {'extractall', 'extract', 'unpack_archive'}
UNSAFE = {'pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'shelve', 'marshal', 'joblib.load', 'torch.jit.load', 'torch.package', 'yaml'}
PICKLE = {'layouts': {'dumps'}}      # what may be used of pickle, and where: the authors' code reads pickled arrays, so our writer makes them


def dotted(node):
    "'a.b.c' of an expression, or ''."
    if isinstance(node, ast.Name): return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)): return f'{base}.{node.attr}'
    return ''


def problems(source, name=''):
    "What a module does that it must not."
    tree, out = ast.parse(source), []
    def bad(node, what): out.append(f'{name}:{node.lineno}: {what}')
    for node in ast.walk(tree):
        for a in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            full = f'{node.module}.{a.name}' if isinstance(node, ast.ImportFrom) else a.name
            if any(full == u or full.startswith(u + '.') for u in UNSAFE) and not (full == 'pickle' and name in PICKLE): bad(node, f'imports {full}')
        if isinstance(node, ast.Attribute) and dotted(node.value) == 'pickle' and node.attr not in PICKLE.get(name, ()): bad(node, f'uses pickle.{node.attr}')
        if not isinstance(node, ast.Call): continue
        f, last = dotted(node.func), node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)
        kw = {k.arg: k.value for k in node.keywords}
        is_true = lambda k: isinstance(kw.get(k), ast.Constant) and kw[k].value is True
        if f in RUN or f in SHELL: bad(node, f'calls {f}')
        if last in UNPACK: bad(node, f'unpacks with {last}')
        if f in UNSAFE: bad(node, f'calls {f}')
        if f == 'torch.load' and not is_true('weights_only'): bad(node, 'torch.load without weights_only=True')
        if last == 'load_state_dict' and dotted(node.func) == last and not is_true('weights_only'): bad(node, "timm's load_state_dict without weights_only=True")
        if 'allow_pickle' in kw and not (isinstance(kw['allow_pickle'], ast.Constant) and kw['allow_pickle'].value is False): bad(node, 'allow_pickle')
        if any(k is None for k in kw) and f in ('torch.load', 'np.load', 'numpy.load'): bad(node, f'{f} with arguments that cannot be seen')
        if is_true('shell'): bad(node, 'a shell')
        if is_true('trust_remote_code'): bad(node, 'trust_remote_code')
    return out


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_nothing_that_is_read_is_run(path): assert not problems(path.read_text(), path.stem)


@pytest.mark.parametrize('code', ['import pickle', 'from pickle import loads', 'torch.load(f)', 'torch.load(f, weights_only=False)', 'torch.load(f, **kw)', 'np.load(f, allow_pickle=True)',
    'np.load(f, allow_pickle=yes)', 'eval(s)', 'exec(s)', 'z.extractall(d)', 'tarfile.open(f).extract(m)', 'shutil.unpack_archive(f)', 'subprocess.run(s, shell=True)', 'os.system(s)',
    'from timm.models import load_state_dict\nload_state_dict(f)', 'joblib.load(f)', 'AutoModel.from_pretrained(x, trust_remote_code=True)'])
def test_the_test_sees_it(code): assert problems(code, 'x')

@pytest.mark.parametrize('code', ['torch.load(f, weights_only=True)', 'np.load(f)', 'np.load(f, allow_pickle=False)', 'model.eval()', 're.compile(s)', 'model.load_state_dict(s)', 'subprocess.run([a])'])
def test_and_nothing_else(code): assert not problems(code, 'x')

def test_only_dumps_of_pickle():
    assert not problems('import pickle\npickle.dumps(x)', 'layouts') and problems('import pickle\npickle.loads(x)', 'layouts') and problems('import pickle\npickle.dumps(x)', 'photos')


def test_subprocesses_get_a_list_of_words():
    "A string would go through a shell, and a file name in it would be a command."
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and dotted(node.func) in ('subprocess.run', 'subprocess.Popen', 'subprocess.check_output', 'subprocess.call'):
                assert isinstance(node.args[0], ast.List), f'{path.name}:{node.lineno}'
