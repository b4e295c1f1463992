// Which of two requests on one chain may stand beside each other, from the rules alone: what a job
// claims and leases when it starts, and what a request looks at. The engine is not asked. QEMU is:
// tests/hypervisor/pairs_test.py has the same rules, and holds them against it.
#ifndef MILLRACE_TESTS_SCENARIOS_PAIRS_PAIR_RULES_H_
#define MILLRACE_TESTS_SCENARIOS_PAIRS_PAIR_RULES_H_

#include <cstddef>

#include "tests/scenarios/pairs/job_request.h"

namespace millrace {

// Whether `second` is accepted while a job of `first` is at work, or waits to be finalized, on a
// chain of so many layers whose topmost one a guest uses.
bool MayStandBeside(const JobRequest& first, const JobRequest& second, size_t layers);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_PAIRS_PAIR_RULES_H_
