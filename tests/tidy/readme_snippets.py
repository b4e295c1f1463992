#!/usr/bin/env python3
"""Keeps the code shown in READMEs equal to the compiled file it comes from.

    readme_snippets.py ROOT [BUILD]    exit status 1 if a README differs from its source
    readme_snippets.py --write ROOT    puts the sources' text into the READMEs

With BUILD, a build folder, each source must be one that it compiles (compile_commands.json).

A README says where a block comes from, and the source marks what it lends:

    <!-- from examples/embed/embed.cc -->        // README: begin
    ```cpp                                       ...
    ```                                          // README: end

The README at ROOT has such a block, of 20 lines at most. Links to files of the tree are checked too.
"""

import json
import pathlib
import re
import subprocess
import sys
import textwrap

BLOCK = re.compile(r'(<!-- from (\S+) -->\n```\w*\n)(.*?)(```\n)', re.DOTALL)
FIRST_EXAMPLE_LINES_MAX = 20
LENT = re.compile(r'^[ \t]*// README: begin\n(.*?)^[ \t]*// README: end\n',
                  re.DOTALL | re.MULTILINE)


def lent_text(root, path):
    match = LENT.search((root / path).read_text(encoding='utf-8'))
    if match is None:
        raise SystemExit(f'{path}: no "// README: begin" and "// README: end"')
    return textwrap.dedent(match.group(1))


def dead_links(readme, text):
    text = re.sub(r'```.*?```', '', text, flags=re.DOTALL)  # a lambda looks like a link
    for target in re.findall(r'\]\(([^)#:]+)\)', text):
        if not (readme.parent / target).exists():
            yield f'{readme}: links to {target}, which does not exist'


def first_example(root):
    """What is wrong with the example that a reader meets first."""
    blocks = BLOCK.findall((root / 'README.md').read_text(encoding='utf-8'))
    if not blocks:
        yield f'{root / "README.md"}: shows no code from a compiled file'
    for _, path, text, _ in blocks:
        if (lines := text.count('\n')) > FIRST_EXAMPLE_LINES_MAX:
            yield (f'{root / "README.md"}: {lines} lines from {path}; at most '
                   f'{FIRST_EXAMPLE_LINES_MAX}')


def compiled_files(build):
    """The absolute paths of all sources that the build compiles, also those of a unity build."""
    commands = json.loads((build / 'compile_commands.json').read_text(encoding='utf-8'))
    files = {(pathlib.Path(each['directory']) / each['file']).resolve() for each in commands}
    for unity in [each for each in files if each.parent.name == 'Unity']:
        files |= {pathlib.Path(path).resolve()
                  for path in re.findall(r'^#include "(.*)"', unity.read_text('utf-8'), re.MULTILINE)}
    return {str(each) for each in files}


def main(arguments):
    write = '--write' in arguments
    folders = [pathlib.Path(a) for a in arguments if a != '--write']
    root = folders[0] if folders else pathlib.Path('.')
    compiled = compiled_files(folders[1]) if len(folders) > 1 else None
    listed = subprocess.run(['find', '.', '-name', 'build', '-prune', '-o', '-name', '*.md',
                             '-print'], cwd=root, capture_output=True, text=True, check=True)
    complaints, blocks = [], 0
    for readme in (root / path for path in sorted(listed.stdout.split())):
        text = readme.read_text(encoding='utf-8')
        sources = [path for _, path, _, _ in BLOCK.findall(text)]
        blocks += len(sources)
        if compiled is not None:
            complaints.extend(f'{readme}: {path} is not compiled' for path in sources
                              if str((root / path).resolve()) not in compiled)
        fresh = BLOCK.sub(lambda m: m[1] + lent_text(root, m[2]) + m[4], text)
        if fresh != text and write:
            readme.write_text(fresh, encoding='utf-8')
        elif fresh != text:
            complaints.append(f'{readme}: differs from its source; run readme_snippets.py --write')
        complaints.extend(dead_links(readme, text))
    complaints.extend(first_example(root))
    print('\n'.join(complaints + [f'{blocks} blocks, {len(complaints)} complaints']))
    return 1 if complaints else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
