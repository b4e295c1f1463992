#!/usr/bin/env python3
"""Compiles one program of this folder and says whether clang rejects it as it should.

    check.py PROGRAM COMPILER [FLAG...]

The program states what it expects, in comments:
    // expect: REGEX     one error, whose text matches; several lines expect several errors
    // compiles          no error at all (a control: without it, a broken harness rejects everything)
Every error must be expected, and every expectation met.
"""

import re
import subprocess
import sys


def main(program, compiler, *flags):
    with open(program, encoding='utf-8') as file:
        text = file.read()
    expected = re.findall(r'^// expect: (.*)$', text, re.MULTILINE)
    if bool(expected) == ('// compiles\n' in text):
        print(f'{program}: say either "// expect: REGEX" or "// compiles"')
        return 1
    command = [compiler, *flags, '-std=c++20', '-fsyntax-only', '-Wall', '-Wthread-safety',
               '-Werror', '-fno-color-diagnostics', program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = re.findall(r'(?:^|\n).*?error: (.*)', result.stderr)
    unmatched = list(errors)
    for pattern in expected:
        match = next((error for error in unmatched if re.search(pattern, error)), None)
        if match is None:
            print(f'{program}: no error matches "{pattern}"\n{result.stderr}')
            return 1
        unmatched.remove(match)
    if unmatched:
        print(f'{program}: unexpected errors\n{result.stderr}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
