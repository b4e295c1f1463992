// What nearly every file that uses the library includes of it; see millrace_precompile(). They are
// headers that most files reach by some way, so that few builds are set off that would not be
// anyhow.
#ifndef MILLRACE_CMAKE_PRECOMPILED_USERS_H_
#define MILLRACE_CMAKE_PRECOMPILED_USERS_H_

#include "absl/container/flat_hash_map.h"
#include "cmake/precompiled.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"

#endif  // MILLRACE_CMAKE_PRECOMPILED_USERS_H_
