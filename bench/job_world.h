// What the benches of jobs share: an engine with a graph, a job manager and chains of memory
// overlays.
#ifndef MILLRACE_BENCH_JOB_WORLD_H_
#define MILLRACE_BENCH_JOB_WORLD_H_

#include <memory>
#include <optional>
#include <vector>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/block_job.h"

namespace millrace::bench {

inline void MustBeOk(const absl::Status& status) { MILLRACE_CHECK(status.ok(), status.ToString()); }

struct OverlayChain {
  std::vector<NodeId> nodes;  // bottom first
  Attachment guest;           // reads and writes the top
};

struct JobWorld {
  explicit JobWorld(const Engine::Options& options)
      : own_engine(*Engine::Create(options)),
        engine(own_engine.get()),
        graph(*engine),
        committer(graph),
        jobs(*engine, committer) {}

  // On an engine made elsewhere.
  explicit JobWorld(Engine& of)
      : engine(&of), graph(*engine), committer(graph), jobs(*engine, committer) {}

  template <typename Body>
  void Run(Body&& body) {
    MustBeOk(engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      body();
      return absl::OkStatus();
    }));
  }

  // A chain over these images, bottom first; `name` is the guest's and starts the nodes'.
  OverlayChain CoAddChain(const std::string& name,
                          const std::vector<std::shared_ptr<MemoryOverlayImage>>& images)
      MILLRACE_MAY_SUSPEND {
    OverlayChain chain = PlanChain(name, images);
    for (NodeId node : chain.nodes) MustBeOk(CoOpenNode(graph, node));
    return chain;
  }

  void CoClose(std::vector<OverlayChain>& chains) MILLRACE_MAY_SUSPEND {
    jobs.CoShutdown();
    for (OverlayChain& chain : chains) chain.guest.CoDetach();
    chains.clear();
    graph.CoClose();
  }

  std::unique_ptr<Engine> own_engine;
  Engine* engine;
  Graph graph;
  BlockJobCommitter committer;
  JobManager jobs;

 private:
  OverlayChain PlanChain(const std::string& name,
                         const std::vector<std::shared_ptr<MemoryOverlayImage>>& images)
      MILLRACE_OPENS_VIEW {
    OverlayChain chain;
    GraphTransaction change(graph);
    for (size_t i = 0; i < images.size(); ++i) {
      MemoryOverlayOptions driver;
      driver.image = images[i];
      driver.filename = StrCat(name, "-", i, ".img");
      const NodeId node = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)),
                                         {.name = StrCat(name, "-", i)});
      if (i > 0) change.SetBacking(node, chain.nodes.back(), std::nullopt);
      chain.nodes.push_back(node);
    }
    AttachmentOptions guest;
    guest.holder = MakeHolder(name, "block device");
    guest.device_name = name;
    guest.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
    chain.guest = change.Attach(chain.nodes.back(), guest);
    MustBeOk(change.Commit().status());
    return chain;
  }
};

}  // namespace millrace::bench

#endif  // MILLRACE_BENCH_JOB_WORLD_H_
