#include "millrace/engine/base/sanitizer_agreement.h"

namespace millrace::internal {

#if defined(MILLRACE_SANITIZED_ADDRESSES)
const char the_library_is_built_with_address_sanitizer = 0;
#else
const char the_library_is_built_without_address_sanitizer = 0;
#endif

}  // namespace millrace::internal
