// A lease that nobody keeps would be released at once.
// expect: ignoring return value of function declared with
#include "millrace/graph/freeze.h"

void Careless(const millrace::GraphReader& reader, millrace::NodeId top, millrace::NodeId last) {
  millrace::FrozenChain::Freeze(reader, top, last, {});
}
