// What a scenario notes for the recording of its run, so that a replay page can draw and tell it:
// the graph, the jobs, and what is done from outside. Costs nothing where nobody records.
#ifndef MILLRACE_EXAMPLES_SCENARIO_KIT_RUN_NOTES_H_
#define MILLRACE_EXAMPLES_SCENARIO_KIT_RUN_NOTES_H_

#include <string_view>

#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/graph/graph.h"

namespace millrace {

// The graph as it is now. For calls between steps: from the predicate of Engine::RunUntil().
void NoteGraph(Graph& graph) MILLRACE_OPENS_VIEW;

// The jobs that there are now, with their states; between steps, too.
void NoteJobs(const Scheduler& scheduler, const JobManager& jobs);

// In the running step somebody outside of the engine does something: "user", "finalizes job 'c'".
void NoteAct(const Scheduler& scheduler, std::string_view who, std::string_view what);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_SCENARIO_KIT_RUN_NOTES_H_
