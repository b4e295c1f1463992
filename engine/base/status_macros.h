// Early return on error for absl::Status and absl::StatusOr.
//
//   MILLRACE_RETURN_IF_ERROR(CoFlush());
//   MILLRACE_ASSIGN_OR_RETURN(Mapping mapping, CoMap(range));
#ifndef MILLRACE_ENGINE_BASE_STATUS_MACROS_H_
#define MILLRACE_ENGINE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define MILLRACE_MACRO_CONCAT_INNER(a, b) a##b
#define MILLRACE_MACRO_CONCAT(a, b) MILLRACE_MACRO_CONCAT_INNER(a, b)

#define MILLRACE_RETURN_IF_ERROR(expression)                                  \
  do {                                                                        \
    if (::absl::Status millrace_status = (expression); !millrace_status.ok()) \
      return millrace_status;                                                 \
  } while (false)

#define MILLRACE_ASSIGN_OR_RETURN(declaration, expression)                                    \
  MILLRACE_ASSIGN_OR_RETURN_INNER(MILLRACE_MACRO_CONCAT(millrace_or_, __LINE__), declaration, \
                                  expression)
#define MILLRACE_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                            \
  if (!result.ok()) return std::move(result).status();                   \
  declaration = *std::move(result)

#endif  // MILLRACE_ENGINE_BASE_STATUS_MACROS_H_
