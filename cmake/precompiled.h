// What nearly every file of the library includes; see millrace_precompile().
#ifndef MILLRACE_CMAKE_PRECOMPILED_H_
#define MILLRACE_CMAKE_PRECOMPILED_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#endif  // MILLRACE_CMAKE_PRECOMPILED_H_
