#!/usr/bin/env python3
"""Keeps the code shown in READMEs equal to the compiled file it comes from.

    readme_snippets.py ROOT            exit status 1 if a README differs from its source
    readme_snippets.py --write ROOT    puts the sources' text into the READMEs

A README says where a block comes from, and the source marks what it lends:

    <!-- from examples/embed/embed.cc -->        // README: begin
    ```cpp                                       ...
    ```                                          // README: end

Links to files of the tree are checked too.
"""

import pathlib
import re
import subprocess
import sys
import textwrap

BLOCK = re.compile(r'(<!-- from (\S+) -->\n```\w*\n)(.*?)(```\n)', re.DOTALL)
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


def main(arguments):
    write = '--write' in arguments
    root = pathlib.Path(next((a for a in arguments if a != '--write'), '.'))
    listed = subprocess.run(['find', '.', '-name', 'build', '-prune', '-o', '-name', '*.md',
                             '-print'], cwd=root, capture_output=True, text=True, check=True)
    complaints, blocks = [], 0
    for readme in (root / path for path in sorted(listed.stdout.split())):
        text = readme.read_text(encoding='utf-8')
        blocks += len(BLOCK.findall(text))
        fresh = BLOCK.sub(lambda m: m[1] + lent_text(root, m[2]) + m[4], text)
        if fresh != text and write:
            readme.write_text(fresh, encoding='utf-8')
        elif fresh != text:
            complaints.append(f'{readme}: differs from its source; run readme_snippets.py --write')
        complaints.extend(dead_links(readme, text))
    if blocks == 0:
        complaints.append('no README shows any code')
    print('\n'.join(complaints + [f'{blocks} blocks, {len(complaints)} complaints']))
    return 1 if complaints else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
