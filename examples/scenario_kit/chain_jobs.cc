#include "examples/scenario_kit/chain_jobs.h"

#include <utility>

#include "examples/scenario_kit/run_notes.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

class PassFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "pass"; }
};

}  // namespace

std::unique_ptr<FilterDriver> MakePassFilter() { return std::make_unique<PassFilter>(); }

NodeId ChainJobs::Find(std::string_view name) {
  GraphView view(graph());
  absl::StatusOr<NodeView> found = view.Find(name);
  return found.ok() ? found->id() : NodeId();
}

StreamOptions ChainJobs::Stream(std::string id, size_t top, std::optional<size_t> base) {
  StreamOptions options;
  options.job.spec.id = std::move(id);
  options.top = node(top);
  if (base) options.base = node(*base);
  return options;
}

StreamOptions ChainJobs::StreamToBottom(std::string id, size_t top, size_t bottom) {
  StreamOptions options = Stream(std::move(id), top, std::nullopt);
  options.bottom = node(bottom);
  return options;
}

CommitOptions ChainJobs::Commit(std::string id, size_t top, size_t base) {
  CommitOptions options;
  options.job.spec.id = std::move(id);
  options.root = chain().nodes.back();
  options.top = node(top);
  options.base = node(base);
  return options;
}

void ChainJobs::NoteStart(std::string_view type, const JobSpec& spec) {
  NoteAct(graph().engine().scheduler(), "user",
          StrCat("starts ", type, " job '", spec.id.value_or(""), "'"));
}

absl::Status ChainJobs::CoStart(StreamOptions options) {
  NoteStart("stream", options.job.spec);
  return CoStartStream(graph(), jobs(), std::move(options)).status();
}

absl::Status ChainJobs::CoStart(CommitOptions options) {
  NoteStart("commit", options.job.spec);
  return CoStartCommit(graph(), jobs(), std::move(options)).status();
}

absl::Status ChainJobs::CoStart(MirrorOptions options) {
  NoteStart("mirror", options.job.spec);
  return CoStartMirror(graph(), jobs(), std::move(options)).status();
}

}  // namespace millrace
