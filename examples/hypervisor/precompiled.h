// What nearly every file of the daemon includes; see millrace_precompile().
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PRECOMPILED_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PRECOMPILED_H_

#include <boost/json.hpp>

#include "cmake/precompiled_users.h"

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PRECOMPILED_H_
