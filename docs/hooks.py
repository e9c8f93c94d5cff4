"""What mkdocs asks for while it builds the site: every notebook a page (never run: saved outputs only), every module a page of API,
formulas as MathML, links from file to file turned into links from page to page. Nothing is fetched, and the site needs no network either."""
import ast, base64, io, json, posixpath, re, tokenize
from pathlib import Path
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'featurenerf'
FENCE = re.compile(r'(^(~{3,}|`{3,})[^\n]*\n.*?^\2[ \t]*$)', re.S | re.M)   # splits into prose, block, fence, prose, ...
LINK = re.compile(r'(\]\()([^)\s]+)(?=[)\s])')
MATH = re.compile(r'(?P<code>`[^`\n]+`)|\$\$(?P<block>.+?)\$\$|(?<!\\)\$(?P<line>[^$\n]+?)\$', re.S)
formulas = [] # LaTeX of all pages; their text holds only numbers, which Markdown leaves alone


# pages -------------------------------------------------------------------------------------------------------------

def notebooks(): # files of the repository
    return sorted(p.relative_to(ROOT).as_posix() for p in (ROOT/'nbs').rglob('*.ipynb') if not any(s[0] in '._' for s in p.relative_to(ROOT).parts))

def modules(): return sorted(f'{PACKAGE}/{p.name}' for p in (ROOT/PACKAGE).glob('[a-z]*.py'))

def texts(): return sorted(p.relative_to(ROOT).as_posix() for d in ('results', 'data_scripts') for p in (ROOT/d).rglob('*.md'))

def page_of(file:str): # of the repository
    "The page of the site that a file becomes."
    if file.startswith('docs/'): return file[5:]
    if file.startswith(f'{PACKAGE}/') and file.endswith('.py'): return f'api/{Path(file).stem}.md'
    return file[:-6] + '.md' if file.endswith('.ipynb') else file

def expand(
    nav, # mkdocs.yml's, with patterns of files of the repository in place of pages
): # list, with the pages
    "A new notebook has its place in the navigation before it is written."
    if isinstance(nav, list): return [x for item in nav for x in expand(item)]
    if isinstance(nav, dict): return [{title: expand(what) if isinstance(what, list) or '*' in what else expand(what)[0]} for title, what in nav.items()]
    found = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob(nav)) if '*' in nav else [nav]
    if not found: raise ValueError(f'mkdocs.yml: no file of the repository is like {nav!r}, which nav names; mend the pattern or remove it')
    return [page_of(f) for f in found]


# notebooks ---------------------------------------------------------------------------------------------------------

def fence(text, info):
    "A fenced block; its fence is longer than any inside."
    bar = '`' * max([3, *(len(m) + 1 for m in re.findall('`{3,}', text))])
    return f'{bar}{info}\n{text}\n{bar}'

def cell_code(
    source:str, # of a code cell
    module:str, # where exported cells go, '' if nowhere
): # Markdown, '' if the cell holds nothing but directives
    body = re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip()
    exported = re.search(r'^#\|\s*exports?\b', source, re.M)
    return fence(body, f'python title="{PACKAGE}.{module}"' if exported else 'python') if body and 'nbdev_export()' not in body else ''

def output(
    out:dict,   # an output of a code cell
    picture,    # (bytes, extension) -> Markdown of a picture
): # Markdown; progress bars and the like leave nothing
    "The best form of an output that a page can show without a kernel."
    if out['output_type'] == 'stream':
        text = re.sub(r'\x1b\[[\d;]*m', '', ''.join(out['text'])).strip('\n')
        return fence(text, '{.text .output}') if out['name'] == 'stdout' and text else ''
    data = {k: v if isinstance(v, dict) else ''.join(v) for k, v in out.get('data', {}).items()}
    if figure := data.get('application/vnd.plotly.v1+json'):
        spec = json.dumps({k: figure[k] for k in ('data', 'layout')}, separators=(',', ':')).replace('</', '<\\/')
        return f'<div class="plotly-figure"><script type="application/json">{spec}</script></div>'
    for kind, ext in {'image/png': 'png', 'image/gif': 'gif', 'image/jpeg': 'jpg'}.items():
        if kind in data: return picture(base64.b64decode(data[kind]), ext)
    if 'text/markdown' in data: return data['text/markdown']
    if any('widget' in k for k in data) or 'text/plain' not in data: return ''
    return fence(data['text/plain'], '{.text .output}')

def notebook_page(
    file:str, # of the repository
): # Markdown, and {name: bytes} of its pictures, whose names are relative to the page
    cells = [dict(c, source=''.join(c['source'])) for c in json.loads((ROOT/file).read_text())['cells']]
    module = next((m[1] for c in cells if (m := re.search(r'^#\|\s*default_exp (\w+)', c['source'], re.M))), '')
    stem, pictures, parts, heading = Path(file).stem, {}, [], Path(file).stem
    def picture(data, ext):
        name = f'{stem}_files/{len(pictures):02d}.{ext}'
        pictures[name] = data
        return f'![{heading}, picture {len(pictures)}]({name}){{.figure loading=lazy}}'
    about = f'<p class="about">This page is the notebook <a href="{stem}.ipynb" download>{file}</a>'
    about += f', the source of <a href="{"../" * file.count("/")}api/{module}.html">{PACKAGE}.{module}</a>.</p>' if module else '.</p>'
    for c in cells:
        if c['cell_type'] == 'markdown':
            if m := re.search(r'^#+ (.+)', FENCE.sub('', c['source']), re.M): heading = re.sub(r'[][`$*]', '', m[1])
            text = re.sub(r'^# .+', lambda m: f'{m[0]}\n\n{about}\n', c['source'], count=1, flags=re.M) if about else c['source']
            if text != c['source']: about = ''
            parts.append(text)
        elif c['cell_type'] == 'code':
            if code := cell_code(c['source'], module): parts += [f'<a id="cell-{c["id"]}"></a>', code]
            parts += [md for o in c['outputs'] if (md := output(o, picture))]
    return '\n\n'.join(parts) + '\n', pictures


# modules -----------------------------------------------------------------------------------------------------------

def escape(text): return re.sub(r'[*_|\[\]<>$\\&#`~]', lambda m: f'&#{ord(m[0])};', text)

def code(text): return f'<code>{escape(text)}</code>' if text else ''

def plain(text):
    "Text of comments and docstrings, safe in Markdown; code spans stay."
    return ''.join(escape(s) if i % 2 == 0 else code(s) for i, s in enumerate(re.split(r'`([^`]+)`', text)))

def comments(source:str): # of a module
    "line -> the comment at its end."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}

def parameters(node, notes):
    "Rows (name, type, default, comment) of a function's parameters, without self, and the comment of what it returns."
    a, body = node.args, node.body[0].lineno
    stop = node.returns.end_lineno if node.returns else max(node.lineno, body - 1)        # the line that ends the head, whose comment is of the result
    pos = [*a.posonlyargs, *a.args]
    args = [*zip([''] * len(pos), pos, [None] * (len(pos) - len(a.defaults)) + a.defaults), *[('*', x, None) for x in [a.vararg] if x],
            *zip([''] * len(a.kwonlyargs), a.kwonlyargs, a.kw_defaults), *[('**', x, None) for x in [a.kwarg] if x]]
    ends = [(d or x).end_lineno for _, x, d in args]
    rows = [(star + x.arg, ast.unparse(x.annotation) if x.annotation else '', ast.unparse(d) if d else '',
             notes.get(e, '') if e < stop and e not in ends[i+1:] else '') for i, ((star, x, d), e) in enumerate(zip(args, ends))]
    return [r for i, r in enumerate(rows) if i or r[0] not in ('self', 'cls')], notes.get(stop, '') if stop < body else ''

def table(rows, returns=('', '')): # of parameters; type and comment of what is returned
    "Parameters as a table; columns without entries are left out."
    cells = [[code(n), code(t), code(d), plain(c)] for n, t, d, c in rows] + ([['*returns*', code(returns[0]), '', plain(returns[1])]] if any(returns) else [])
    if not cells: return ''
    keep = [i for i in range(4) if i in (0, 3) or any(r[i] for r in cells)]
    line = lambda r: '| ' + ' | '.join(r[i] for i in keep) + ' |'
    return '\n'.join([line(['name', 'type', 'default', 'meaning']), line(['---']*4), *map(line, cells)])

def call(name, node):
    "`name(a, b=1)`, without types, and over several lines if it is long."
    args = ast.parse(f'def f({ast.unparse(node.args)}): pass').body[0].args
    for x in [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]:
        if x: x.annotation = None
    if args.args and args.args[0].arg in ('self', 'cls'): args.args = args.args[1:]
    text = f'{name}({ast.unparse(args)})'
    return text if len(text) < 90 else text.replace('(', '(\n    ', 1)

def cell_of(source, line):
    "Link to the notebook's cell in which a line of a module was written."
    m = re.findall(r'^# %% \.\./(nbs/\S+) #(\S+)$', '\n'.join(source.splitlines()[:line]), re.M)
    return f'[source](../{m[-1][0]}#cell-{m[-1][1]}){{.source}}' if m else ''

def kind(node): # 'property', 'classmethod', 'staticmethod' or ''
    said = ' '.join(ast.unparse(d) for d in node.decorator_list)
    return next((k for k, words in dict(property='property|as_prop', classmethod='classmethod|cls_method', staticmethod='static').items() if re.search(words, said)), '')

def function(name, node, source, notes, level):
    rows, returns = parameters(node, notes)
    what, doc = kind(node), ast.get_docstring(node)
    sig = name if what == 'property' else call(name, node)
    return '\n\n'.join(filter(None, [f'{"#" * level} `{name}` {{#{name}}}', fence(f'@{what}\n{sig}' if what else sig, 'python') + '\n' + cell_of(source, node.lineno),
                                     plain(doc) if doc else '', table(rows, (ast.unparse(node.returns) if node.returns else '', returns))]))

def class_(node, methods, source, notes):
    init = next((m for m in methods if m.name == '__init__'), None)
    fields = [(f.target.id, ast.unparse(f.annotation), ast.unparse(f.value) if f.value else '', notes.get(f.end_lineno, ''))
              for f in node.body if isinstance(f, ast.AnnAssign) and not f.target.id.startswith('_')]
    bases, doc = [ast.unparse(b) for b in node.bases], ast.get_docstring(node)
    head = f'class {node.name}' + (f'({", ".join(bases)})' if bases else '')
    rows = parameters(init, notes)[0] if init else fields
    shown = [m for m in methods if (m.name[0] != '_' or m.name == '__call__') and (ast.get_docstring(m) or parameters(m, notes)[0])]
    return [f'## `{node.name}` {{#{node.name}}}', fence(head, 'python') + '\n' + cell_of(source, node.lineno), plain(doc) if doc else '', table(rows),
            *(function(f'{node.name}.{m.name}', m, source, notes, 3) for m in shown)]

def patched(node): # the class that a function is patched into, or None
    if any(ast.unparse(d).startswith('patch') for d in node.decorator_list): return ast.unparse(node.args.args[0].annotation)

def module_page(
    file:str, # of the repository
): # Markdown
    "What a module exports, read from its source: nothing is imported."
    source = (ROOT/file).read_text()
    tree, notes, stem = ast.parse(source), comments(source), Path(file).stem
    made = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef) or isinstance(n, ast.FunctionDef) and not patched(n)}
    made |= {t.id: n for n in tree.body if isinstance(n, ast.Assign) for target in n.targets for t in ast.walk(target) if isinstance(t, ast.Name)}
    made |= {n.target.id: n for n in tree.body if isinstance(n, ast.AnnAssign)}
    patches = [n for n in tree.body if isinstance(n, ast.FunctionDef) and patched(n)]
    book = re.search(r'File to edit: \.\./(nbs/\S+)\.$', source, re.M)[1]
    parts = [f'# {PACKAGE}.{stem}', f'> {plain(ast.get_docstring(tree) or "")}', f'Written in the notebook [{book}](../{book}), which explains it step by step.']
    for name in ast.literal_eval(made['__all__'].value):
        node = made.get(name)
        if isinstance(node, ast.ClassDef):
            inside = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            parts += class_(node, inside + [p for p in patches if patched(p) == name], source, notes)
        elif isinstance(node, ast.FunctionDef): parts.append(function(name, node, source, notes, 2))
        elif node is not None:
            text = ast.unparse(node)
            parts += [f'## `{name}` {{#{name}}}', fence(text if len(text) < 400 else f'{text[:400]} ...', 'python') + '\n' + cell_of(source, node.lineno),
                      plain(notes.get(node.end_lineno, ''))]
    foreign = [p for p in patches if patched(p) not in made and p.name[0] != '_']
    parts += [function(f'{patched(p)}.{p.name}', p, source, notes, 2) for p in foreign]
    return '\n\n'.join(filter(None, parts)) + '\n'

def api_index():
    rows, book = [], lambda f: re.search(r'File to edit: (\S+)', (ROOT/f).read_text())[1]
    for file in sorted(modules(), key=book):
        stem, doc = Path(file).stem, ast.get_docstring(ast.parse((ROOT/file).read_text())) or ''
        rows.append(f'| [{PACKAGE}.{stem}](../{file}) | {plain(doc)} |')
    return '\n'.join(['# API', '', 'One page a module, in reading order; a module imports only modules above it. Shapes are written as in the code: a leading '
                      '`*batch` stands for any number of batch axes.', '', '| module | what it is for |', '|---|---|', *rows, ''])


# events of mkdocs --------------------------------------------------------------------------------------------------

def on_config(config):
    formulas.clear()
    config.nav = expand(config.nav)
    return config

def on_files(files, config):
    add = lambda uri, **kw: files.append(File.generated(config, uri, **kw))
    for file in notebooks():
        text, pictures = notebook_page(file)
        add(page_of(file), content=text)
        add(file, abs_src_path=str(ROOT/file))                                    # to download
        for name, data in pictures.items(): add(posixpath.join(posixpath.dirname(file), name), content=data)
    for file in modules(): add(page_of(file), content=module_page(file))
    for file in texts(): add(file, content=(ROOT/file).read_text())
    add('api/index.md', content=api_index())
    add('assets/plotly.min.js', abs_src_path=str(plotly_js()))
    return files

def plotly_js():
    import plotly
    return Path(plotly.__file__).parent/'package_data/plotly.min.js'

def source_of(uri:str): # of a page
    "The file of the repository, from which the page's links start; pages of the API count as files of a folder api."
    return uri if uri.startswith('api/') else next((f for f in (uri[:-3] + '.ipynb', uri) if (ROOT/f).exists()), f'docs/{uri}')

def on_page_markdown(markdown, page, config, files):
    "Lists, formulas and links as a notebook understands them."
    uri, source = page.file.src_uri, source_of(page.file.src_uri)
    def link(m):
        target, _, anchor = m[2].partition('#')
        if not target or re.match(r'\w+:', target): return m[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if page_of(file) == file and not files.get_file_from_path(file) and (ROOT/file).is_file():
            files.append(File.generated(config, file, abs_src_path=str(ROOT/file)))            # no page, but a file of the site from now on
        return m[1] + posixpath.relpath(page_of(file), posixpath.dirname(uri) or '.') + (f'#{anchor}' if anchor else '')
    def math(m):
        if m['code']: return m[0]
        formulas.append((m['block'] or m['line'], bool(m['block'])))
        return f'FORMULA{len(formulas) - 1}ALUMROF'
    pieces = FENCE.split(markdown)
    if not any(re.search('^# ', p, re.M) for p in pieces[::3]): pieces[0] = f'# {str(Path(uri).parent).removeprefix("results/")}\n\n{pieces[0]}'
    for i in range(0, len(pieces), 3):
        text = re.sub(r'^((?![ \t]|[-*] |\d+\. |$).+)\n(?=(?:[-*]|\d+\.) )', r'\1\n\n', pieces[i], flags=re.M)  # a list may follow a paragraph at once
        pieces[i] = MATH.sub(math, LINK.sub(link, text.replace('<details>', '<details markdown="1">')))
    return ''.join(p for i, p in enumerate(pieces) if i % 3 < 2)

def on_page_content(html, page, config, files):
    from math_core import LatexToMathML
    convert = LatexToMathML().convert_with_local_state
    def mathml(m):
        latex, block = formulas[int(m[1])]
        style = 'formula' if block else 'formula inline' if len(latex) > 40 else ''           # what may be wider than a phone scrolls
        return f'<span class="{style}">{convert(latex, displaystyle=block)}</span>' if style else convert(latex, displaystyle=block)
    return re.sub(r'FORMULA(\d+)ALUMROF', mathml, html)
