"Package metadata: everything that varies is read from settings.ini."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(here / 'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']


def requirements(key):
    return cfg.get(key, '').split()


extras = {key.removesuffix('_requirements'): requirements(key) for key in cfg if key.endswith('_requirements')}
extras['dev'] = sorted({r for name in ('dev', 'notebooks', 'teachers', 'docs') for r in extras[name]})

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    license='Apache-2.0',
    keywords=cfg['keywords'].split(),
    url=cfg['git_url'],
    packages=find_packages(include=['featurenerf', 'featurenerf.*']),
    package_data={'featurenerf': ['weights/*', 'weights/*/*']},
    python_requires='>=' + cfg['min_python'],
    install_requires=requirements('requirements'),
    extras_require=extras,
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Intended Audience :: Education',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    entry_points={'console_scripts': ['featurenerf=featurenerf.experiments:main']},
    zip_safe=False,
)
