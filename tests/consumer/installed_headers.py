#!/usr/bin/env python3
"""What an embedder may rely on about installed headers.

    installed_headers.py PREFIX COMPILER SOURCE_ROOT [--alone]

All compile together, and with --alone, as the nightly run asks, each alone, without a warning of an embedder's -Wall -Wextra; none includes
Boost, liburing, or a header that was not installed; they define only MILLRACE_ macros. A header with a .cc beside it is the first thing that file includes (a rule of
tests/tidy), so only the others are compiled alone here.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile


WARNINGS = ['-Wall', '-Wextra', '-Werror']


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def together(include_folder, headers, compiler):
    """Complaints about a translation unit with all headers: warnings, what it includes, defines."""
    with tempfile.NamedTemporaryFile('w', suffix='.cc') as unit:
        unit.writelines(f'#include "{header}"\n' for header in headers)
        unit.flush()
        command = [compiler, '-std=c++20', f'-I{include_folder}']
        warned = run([*command, *WARNINGS, '-fsyntax-only', unit.name])
        result = run([*command, '-E', '-dD', unit.name])
    if warned.returncode != 0:
        yield warned.stderr
    if result.returncode != 0:
        yield result.stderr
        return
    file = ''
    for line in result.stdout.splitlines():
        if marker := re.match(r'# \d+ "([^"]+)"', line):
            if marker[1] != file and re.search(r'/boost/|/liburing', marker[1]):
                yield f'the headers include {marker[1]}'
            file = marker[1]
        elif file.startswith(str(include_folder)):
            macro = re.match(r'#define (\w+)', line)
            if macro and not macro[1].startswith('MILLRACE_'):
                yield f'{file}: defines {macro[1]}'


def main(prefix, compiler, root, *words):
    include_folder = pathlib.Path(prefix) / 'include'
    headers = sorted(str(path.relative_to(include_folder))
                     for path in (include_folder / 'millrace').rglob('*.h'))
    complaints = [] if headers else ['no headers are installed']
    complaints.extend(sorted(set(together(include_folder, headers, compiler))))

    def has_source(header):
        path = pathlib.Path(root) / pathlib.Path(header).relative_to('millrace')
        return path.with_suffix('.cc').exists()

    alone = [header for header in headers if '--alone' in words and not has_source(header)]

    def compile_alone(header):
        result = run([compiler, '-std=c++20', f'-I{include_folder}', '-fsyntax-only', '-x', 'c++',
                      *WARNINGS, '-Wno-pragma-once-outside-header',
                      str(include_folder / header)])
        return f'{header}: {result.stderr}' if result.returncode else ''

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints.extend(filter(None, pool.map(compile_alone, alone)))
    print('\n'.join(complaints + [f'{len(headers)} headers, {len(alone)} of them compiled alone, '
                                  f'{len(complaints)} complaints']))
    return 1 if complaints else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
