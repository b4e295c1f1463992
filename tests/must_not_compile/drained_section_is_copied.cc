// A drain ends once.
// expect: copy constructor is implicitly deleted|call to (implicitly-)?deleted
#include "millrace/graph/drain.h"

millrace::DrainedSection Copy(const millrace::DrainedSection& section) { return section; }
