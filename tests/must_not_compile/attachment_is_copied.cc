// A root edge has one owner.
// expect: copy constructor is implicitly deleted|call to (implicitly-)?deleted
#include "millrace/graph/attachment.h"

millrace::Attachment Copy(const millrace::Attachment& attachment) { return attachment; }
