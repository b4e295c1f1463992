// The filter of a commit job: stands above the top while it is being committed. It passes
// everything, asks nothing of its child, and lets go at any time. Internal; not installed.
#ifndef MILLRACE_JOBS_COMMIT_COMMIT_FILTER_H_
#define MILLRACE_JOBS_COMMIT_COMMIT_FILTER_H_

#include <memory>

#include "millrace/graph/driver.h"

namespace millrace {

std::unique_ptr<FilterDriver> MakeCommitFilter();

}  // namespace millrace

#endif  // MILLRACE_JOBS_COMMIT_COMMIT_FILTER_H_
