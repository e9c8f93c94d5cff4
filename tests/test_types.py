"""The type hints of the library are true, as far as mypy can see.

mypy does not know fastcore's @patch: methods would be missing from their classes and unchecked at every call. So it is shown a
copy of the package in which each patched function stands in its class; what it says is told with the lines of the real files."""
import ast, re, subprocess, sys, textwrap
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
LIB = ROOT/'featurenerf'


# What mypy cannot know, each with the reason; everything else is an error of ours.
KNOWN = {
    r'cameras\.py:.*Argument 3 to "Cameras" has incompatible type "None"': 'center=None means the middle of the image: __post_init__ makes a tensor of it',
    r'\w+\.py:.*"Tensor" not callable': 'a module made or defined elsewhere: torch types every attribute of a module as tensor or module',
    r'encoders\.py:.*Tensor.* has no attribute "channels"': 'the same',
    r'fields\.py:.*List\[Tensor \| Module\]': 'the same, for the weights of layers in a list',
    r'vehicles\.py:.*no attribute "kinds"': 'a function with an attribute: car.kinds',
    r'explore\.py:.*(Tensor \| None|"None"|"bool" of "Any \| bool")': 'rgb, acc and depth of a Seen are there together, or none of them',
    r'layouts\.py:.*"_Reads".*list': 'a sequence that reads when indexed, where a list is declared',
    r'model\.py:.*"None" not callable': 'inside of a lambda, after an `if` that mypy forgets there',
    r'model\.py:.*has no attribute "__func__"': 'the bound class method of the hub mixin',
}


def patch_of(node):
    "(class, decorator in its place) of a patched function, else None."
    for d in getattr(node, 'decorator_list', ()):
        call = d if isinstance(d, ast.Call) else None
        if getattr(call.func if call else d, 'id', '') != 'patch': continue
        how = {k.arg for k in call.keywords} if call else set()
        first = node.args.args[0].annotation
        names = [n.id for n in ast.walk(first) if isinstance(n, ast.Name)]
        return names, '@classmethod' if 'cls_method' in how else '@property' if 'as_prop' in how else ''


def buffers(cls):
    "Names of the tensors that a module registers; of nn.Module's attributes mypy knows only that they are tensors or modules."
    calls = [n for n in ast.walk(cls) if isinstance(n, ast.Call) and getattr(n.func, 'attr', '') == 'register_buffer' and isinstance(n.args[0], ast.Constant)]
    return [n.args[0].value for n in calls]


def unpatch(source):
    """Source with patched functions moved into their classes, and the original line of each of its lines.

    Two habits that mypy does not know are said in its words: a field `x:int=None` may be None, and a registered buffer is a tensor."""
    lines, tree = source.splitlines(), ast.parse(source)
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    moved, gone = {}, set()
    for node in tree.body:
        if f'.{getattr(node, "name", "")}.__func__' in source: continue                   # extends a method that is inherited
        if not (found := patch_of(node)) or not (mine := [c for c in found[0] if c in classes]): continue
        first, last = min(d.lineno for d in node.decorator_list), node.end_lineno
        gone |= set(range(first, last + 1))
        for c in mine:
            block = []
            for k in range(first, last + 1):
                text = lines[k - 1]
                if text.startswith('@patch'): text = found[1]
                block.append((re.sub(r'^(def \w+\(\s*(?:self|cls))\s*:\s*[\w|() ]+?(?=[,)])', r'\1', text), k))
            moved.setdefault(c, []).append(block)
    out, after = [], {n.end_lineno: n.name for n in classes.values()}
    starts = {n.body[0].lineno: buffers(n) for n in classes.values()}
    fields = {s.lineno for n in classes.values() for s in n.body if isinstance(s, ast.AnnAssign)}
    for k, text in enumerate(lines, 1):
        if k in fields: text = re.sub(r'^(    \w+ ?: ?)(\S+?)( ?= ?None\b)', r'\1Optional[\2]\3', text)
        if k in starts: out += [(f'    {b}: "_Tensor"', k) for b in starts[k]]
        out.append(('' if k in gone else text, k))
        for block in moved.get(after.get(k), ()): out += [(textwrap.indent(t, '    '), at) for t, at in block]
    if '_Tensor' in (text := '\n'.join(t for t, _ in out)): out.append(('from torch import Tensor as _Tensor', len(lines)))
    out.append(('from typing import Optional', len(lines)))
    return '\n'.join(t for t, _ in out) + '\n', [at for _, at in out]


def unpatched(folder):
    "The package in a folder, with patches undone; file -> original lines."
    (folder/'featurenerf').mkdir(); at = {}
    for p in LIB.glob('*.py'):
        source, at[p.name] = unpatch(p.read_text())
        (folder/'featurenerf'/p.name).write_text(source)
    return at


def check(folder, at):
    "What mypy says, one line an error."
    cache = ROOT/'.mypy_cache'
    run = subprocess.run([sys.executable, '-m', 'mypy', '--config-file', str(ROOT/'mypy.ini'), '--cache-dir', str(cache), '--no-error-summary', '--hide-error-context', 'featurenerf'],
                         cwd=folder, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout[-2000:] + run.stderr[-2000:]
    def real(m): return f'featurenerf/{m[1]}:{at[m[1]][int(m[2]) - 1]}'
    return [re.sub(r'^featurenerf/(\w+\.py):(\d+)', real, l) for l in run.stdout.splitlines() if ': error:' in l]


def test_unpatch():
    source = 'class A:\n    x = 1\n\n@patch\ndef f(self:A, y:int)->int: return self.x + y\n\n@patch(cls_method=True)\ndef g(cls:A,\n    z:str, # a word\n)->str:\n    return z\nk = A().f(1)\n'
    new, at = unpatch(source); space = {}
    exec(new, space)
    assert space['k'] == 2 and space['A'].g('a') == 'a' and len(at) == len(new.splitlines())
    assert 'def f(self, y:int)' in new and at[[i for i, l in enumerate(new.splitlines()) if 'def g' in l][0]] == 8


def test_the_package_keeps_its_meaning(tmp_path):
    unpatched(tmp_path)
    for p in (tmp_path/'featurenerf').glob('*.py'): compile(p.read_text(), p.name, 'exec')
    left = [m for p in (tmp_path/'featurenerf').glob('*.py') for m in re.findall(r'^@patch.*\n(?:@.*\n)*def (\w+)', p.read_text(), re.M)]
    assert left == ['from_pretrained']                     # which extends the hub's


@pytest.mark.slow                                          # mypy reads all of torch: two minutes, then seconds from its cache
def test_type_hints(tmp_path):
    pytest.importorskip('mypy')
    said = [l for l in check(tmp_path, unpatched(tmp_path)) if not any(re.match('featurenerf/' + k, l) for k in KNOWN)]
    assert not said, f'{len(said)} errors\n' + '\n'.join(said)
