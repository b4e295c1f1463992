#!/usr/bin/env python3
"""Breaks what readme_snippets.py holds, each thing once."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

import readme_snippets

SOURCE = """// A program.
int main() {
  // README: begin
  Engine engine;
  engine.Run();
  // README: end
}
"""
README = """# A project

<!-- from examples/a.cc -->
```cpp
Engine engine;
engine.Run();
```

See [the example](examples/a.cc).
"""


class ReadmeSnippets(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.put('README.md', README)
        self.put('examples/a.cc', SOURCE)
        self.compiles('examples/a.cc')

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding='utf-8')

    def compiles(self, *names):
        self.put('build/compile_commands.json', json.dumps(
            [{'directory': str(self.root / 'build'), 'file': f'../{name}'} for name in names]))

    def run_main(self, *more):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = readme_snippets.main([str(self.root), *more])
        return status, said.getvalue()

    def complains(self, about, *more):
        status, said = self.run_main(*more)
        self.assertEqual(status, 1)
        self.assertIn(about, said)

    def test_what_is_as_it_should_be_passes(self):
        self.assertEqual(self.run_main(str(self.root / 'build')), (0, '1 blocks, 0 complaints\n'))

    def test_a_block_that_differs(self):
        self.put('README.md', README.replace('Run()', 'Stop()'))
        self.complains('differs from its source')
        self.assertEqual(self.run_main('--write')[0], 0)
        self.assertEqual((self.root / 'README.md').read_text(encoding='utf-8'), README)

    def test_a_source_that_is_not_compiled(self):
        self.compiles('examples/b.cc')
        self.complains('examples/a.cc is not compiled', str(self.root / 'build'))

    def test_a_source_that_is_compiled_with_others(self):
        self.compiles('build/Unity/unity_0.cc')
        (self.root / 'build/Unity').mkdir(parents=True)
        self.put('build/Unity/unity_0.cc', f'#include "{self.root}/examples/a.cc"\n')
        self.assertEqual(self.run_main(str(self.root / 'build'))[0], 0)
        self.put('build/Unity/unity_0.cc', f'#include "{self.root}/examples/b.cc"\n')
        self.complains('examples/a.cc is not compiled', str(self.root / 'build'))

    def test_an_example_that_is_too_long_for_the_first(self):
        for lines, status in ((20, 0), (21, 1)):
            code = ['engine.Run();'] * lines
            lent = SOURCE.replace('  Engine engine;\n  engine.Run();\n',
                                  ''.join(f'  {line}\n' for line in code))
            shown = README.replace('Engine engine;\nengine.Run();\n', '\n'.join(code) + '\n')
            self.put('examples/a.cc', lent)
            self.put('README.md', shown)
            self.assertEqual(self.run_main()[0], status, lines)
        self.complains('21 lines from examples/a.cc; at most 20')
        # Elsewhere it may be.
        self.put('examples/README.md', shown.replace('(examples/', '('))
        self.put('README.md', README)
        self.put('examples/a.cc', SOURCE)
        self.assertNotIn('at most 20', self.run_main()[1])

    def test_a_first_page_without_an_example(self):
        self.put('examples/README.md', README.replace('(examples/', '('))
        self.put('README.md', '# A project\n')
        self.complains('shows no code from a compiled file')

    def test_a_link_that_leads_nowhere(self):
        self.put('README.md', README + 'And [another](examples/gone.cc).\n')
        self.complains('links to examples/gone.cc, which does not exist')


if __name__ == '__main__':
    sys.exit(unittest.main())
