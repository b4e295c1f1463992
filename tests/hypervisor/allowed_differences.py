"""Members of replies in which millraced may differ from QEMU 7.2, each with its reason.

(command, path, reason): both are patterns in the sense of fnmatch, `path` as differential.py
prints it, list indices as [*]. The list is part of the interface: what is not here must be equal.
"""

ALLOWED = (
    ('*', '*dirty-bitmaps', "a mirror's bitmap belongs to its filter, not to the source"),
    ('*', '*idle_time_ns', 'the clock'),
    ('*', '*_total_time_ns', 'the clock'),
    ('query-block-jobs', '*busy', 'whether a throttled job is asleep at that very moment'),
    ('*', '*actual-size', 'how much of a file is allocated depends on who wrote it, and when'),
    ('*', '*timestamp*', 'the clock'),
    ('*', 'error.data*', 'an addition of Millrace: the conflict for machines'),
    ('query-block-jobs', '*actively-synced', 'of QEMU 8.2 and later'),
    ('query-version', '*', 'another program'),
    ('query-block-jobs', '[[]*[]].offset', 'a job that is held may have done one piece more'),
    ('query-jobs', '[[]*[]].current-progress', 'a job that is held may have done one piece more'),
    ('query-jobs', '[[]*[]].total-progress', 'a mirror counts what the guest writes, as it comes'),
    ('query-block-jobs', '[[]*[]].len', 'a mirror counts what the guest writes, as it comes'),
)
