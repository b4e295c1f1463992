// Nobody outside the job core holds a job by a pointer, which the job's end would leave dangling
// (races R40, R67): a job is named by its id or its number, which are looked up each time.
// expect: 'Find' is a private member of 'millrace::JobManager'
#include "millrace/engine/job/job_manager.h"

bool Keep(millrace::JobManager& manager) { return manager.Find("stream0").ok(); }
