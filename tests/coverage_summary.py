"The small result file of `make coverage`: from coverage's own JSON, the share of lines of every module that tests and notebooks run."
import json, sys
from datetime import date
from pathlib import Path
from featurenerf.runs import commit, hardware, write_json

ROOT = Path(__file__).parent.parent

def summary(report, command):
    "What is worth keeping of `coverage json`."
    share = lambda s: round(100*s['covered_lines']/max(1, s['num_statements']), 1)
    modules = {Path(f).stem: dict(percent=share(d['summary']), lines=d['summary']['num_statements'], missing=d['missing_lines']) for f, d in sorted(report['files'].items())
               if Path(f).name != '_modidx.py'}
    covered, lines = (sum(d['summary'][k] for f, d in report['files'].items() if Path(f).name != '_modidx.py') for k in ('covered_lines', 'num_statements'))
    for m in modules.values():
        if m['percent'] >= 85: del m['missing']            # what is not run is listed where much is not run
    return dict(command=command, commit=commit(), date=str(date.today()), hardware=hardware(), percent=round(100*covered/lines, 1), lines=lines, modules=modules)

if __name__ == '__main__':
    out = summary(json.loads((ROOT/'build/coverage.json').read_text()), ' '.join(sys.argv[1:]) or 'make coverage')
    write_json(ROOT/'results/coverage.json', out)
    print(f"{out['percent']}% of {out['lines']} lines; below 85%:", {k: m['percent'] for k, m in out['modules'].items() if m['percent'] < 85})
