#include "examples/scenario_kit/run_notes.h"

#include <algorithm>
#include <string>
#include <vector>

#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

void NoteGraph(Graph& graph) {
  StepObserver* observer = graph.engine().scheduler().note_keeper();
  if (observer == nullptr) return;
  GraphView view(graph);
  std::string line;
  for (NodeId id : view.Nodes()) {
    const absl::StatusOr<NodeView> node = view.Resolve(id);
    if (!node.ok()) continue;
    StrAppend(&line, line.empty() ? "" : ", ", node->name());
  }
  observer->OnNote("graph", line, DescribeJson(view));
}

void NoteJobs(const Scheduler& scheduler, const JobManager& jobs) {
  StepObserver* observer = scheduler.note_keeper();
  if (observer == nullptr) return;
  std::vector<JobInfo> all = jobs.QueryAll();
  std::reverse(all.begin(), all.end());  // oldest first
  std::string line;
  JsonWriter json;
  json.BeginObject().Key("jobs").BeginArray();
  for (const JobInfo& job : all) {
    const std::string id = job.id.empty() ? StrCat("#", job.number.value()) : job.id;
    json.BeginObject().Key("id").String(id).Key("type").String(job.type);
    json.Key("state").String(JobStateName(job.state));
    json.Key("held").Number(int64_t{job.quiesce_count}).Key("error").String(job.error).EndObject();
    StrAppend(&line, line.empty() ? "" : ", ", id, " ", JobStateName(job.state));
  }
  json.EndArray().EndObject();
  observer->OnNote("jobs", line, json.Take());
}

void NoteAct(const Scheduler& scheduler, std::string_view who, std::string_view what) {
  if (StepObserver* observer = scheduler.note_keeper()) observer->OnNote("act", who, what);
}

}  // namespace millrace
