// A link has one lease, and a lease has one owner.
// expect: copy constructor is implicitly deleted|call to (implicitly-)?deleted
#include "millrace/graph/freeze.h"

millrace::FrozenChain Copy(const millrace::FrozenChain& lease) { return lease; }
