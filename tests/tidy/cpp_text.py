"""C++ sources as text that simple rules can be asked about.

No parser: comments and literals are blanked out (newlines and columns stay), and braces are matched
to tell functions from types and namespaces. That is enough for rules about includes, names and
lengths, and it needs nothing but Python.
"""

import bisect
import dataclasses
import functools
import pathlib
import re

_TOKEN = re.compile(
    r'//[^\n]*'                                      # line comment
    r'|/\*.*?\*/'                                    # block comment
    r'|R"(?P<delimiter>[^(\s]*)\(.*?\)(?P=delimiter)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'                          # string
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",         # character (not a digit separator)
    re.DOTALL)


def _blank(match):
    text = match.group(0)
    if text[0] in '"R':  # keep the quotes, so that a string stays an argument
        return '"' + re.sub(r'[^\n]', ' ', text[1:-1]) + '"'
    return re.sub(r'[^\n]', ' ', text)


def strip(text):
    """`text` with comments and literals blanked out."""
    return _TOKEN.sub(_blank, text)


@dataclasses.dataclass(frozen=True)
class Function:
    """A function definition: the line its declaration starts on, and its length in lines."""
    head: str
    body: str
    line: int
    lines: int


class Source:
    """One file: its path below the root, its text, and its text without comments and literals.

    `own_header` is the path of the header beside a .cc file, '' if there is none.
    """

    def __init__(self, path, text, own_header=''):
        self.path = str(path)
        self.text = text
        self.own_header = own_header
        self.folder = self.path.split('/')[0]

    @classmethod
    def read(cls, root, path):
        file = pathlib.Path(root) / path
        header = path.with_suffix('.h')
        return cls(path, file.read_text(encoding='utf-8'),
                   str(header) if (pathlib.Path(root) / header).exists() else '')

    @property
    def is_header(self):
        return self.path.endswith('.h')

    @functools.cached_property
    def code(self):
        return strip(self.text)

    @functools.cached_property
    def _line_starts(self):
        return [0] + [match.end() for match in re.finditer('\n', self.text)]

    def line_of(self, position):
        return bisect.bisect_right(self._line_starts, position)

    def includes(self):
        """(line, included path) of every #include."""
        for match in re.finditer(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', self.text, re.MULTILINE):
            yield self.line_of(match.start(1)), match.group(1)

    def find(self, pattern):
        """(line, match) of every match in the code."""
        for match in re.finditer(pattern, self.code, re.MULTILINE):
            yield self.line_of(match.start()), match

    @functools.cached_property
    def functions(self):
        return list(_functions(self))


def closing(code, opening):
    """Position of the bracket that closes the one at `opening`; len(code) if none does."""
    pairs = {'(': ')', '{': '}', '[': ']'}
    start, end = code[opening], pairs[code[opening]]
    depth = 0
    for position in range(opening, len(code)):
        if code[position] == start:
            depth += 1
        elif code[position] == end:
            depth -= 1
            if depth == 0:
                return position
    return len(code)


def matching_open(code, closing_position):
    """Position of the '(' that the ')' at `closing_position` closes; -1 if none does."""
    depth = 0
    for position in range(closing_position, -1, -1):
        if code[position] == ')':
            depth += 1
        elif code[position] == '(':
            depth -= 1
            if depth == 0:
                return position
    return -1


def _functions(source):
    code = re.sub(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', lambda m: re.sub(r'[^\n]', ' ', m.group(0)),
                  source.code, flags=re.MULTILINE)  # preprocessor lines would unbalance braces
    position = 0
    start = 0  # where the current declaration began
    while position < len(code):
        character = code[position]
        if character in ';}':
            start = position + 1
        elif character == '(':
            position = closing(code, position)
        elif character == '{':
            head = code[start:position]
            if re.search(r'\)[^=]*$', head) and not re.search(r'^\s*(namespace|enum)\b', head):
                end = closing(code, position)
                first = start + len(head) - len(head.lstrip())
                yield Function(' '.join(head.split()), code[position:end], source.line_of(first),
                               source.line_of(min(end, len(code) - 1)) - source.line_of(first) + 1)
                position = end
            elif not re.search(r'\b(namespace|class|struct|union|extern)\b', head):
                position = closing(code, position)  # an enumeration or a braced initialiser
            start = position + 1
        position += 1
