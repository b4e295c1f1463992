// HypervisorHost: what the wire side of the daemon offers to its parts (the block layer above all).
//
// A part registers its commands, options, HMP commands and object types when it is made, and is
// then called from coroutines of the engine. All references outlive the parts.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_HYPERVISOR_HOST_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_HYPERVISOR_HOST_H_

#include <string>

#include "examples/hypervisor/options/option_table.h"
#include "examples/hypervisor/process/event_loop.h"
#include "examples/hypervisor/process/fd_sets.h"
#include "examples/hypervisor/qmp/command_table.h"
#include "examples/hypervisor/qmp/event_sink.h"
#include "examples/hypervisor/qmp/hmp_table.h"
#include "examples/hypervisor/qmp/object_registry.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/observer.h"

namespace millrace {

// The engine wants its observer before there is a block layer: this one passes everything on to
// whoever is set, and drops it while nobody is.
class ObserverRelay final : public EngineObserver {
 public:
  // Outlives the relay, or is unset (null) before it goes.
  void SetTarget(EngineObserver* target) { target_ = target; }
  // Who draws the timeline, likewise: hears of spans and job events.
  void SetTimeline(EngineObserver* timeline) { timeline_ = timeline; }

  void OnLog(LogLevel level, std::string_view line) override {
    if (target_ != nullptr) target_->OnLog(level, line);
  }
  void OnJobEvent(const JobEvent& event) override {
    if (timeline_ != nullptr) timeline_->OnJobEvent(event);
    if (target_ != nullptr) target_->OnJobEvent(event);
  }
  void OnSpan(const TimelineSpan& span) override {
    if (timeline_ != nullptr) timeline_->OnSpan(span);
  }
  void OnCounter(Counter counter, uint64_t delta) override {
    if (target_ != nullptr) target_->OnCounter(counter, delta);
  }

 private:
  EngineObserver* target_ = nullptr;
  EngineObserver* timeline_ = nullptr;
};

// Known before any option with an effect is run.
struct HypervisorSettings {
  std::string program;               // basename of argv[0]
  bool open_gate_like_qemu = false;  // --open-gate qemu
  std::string open_root;             // --open-root
};

struct HypervisorHost {
  Engine& engine;
  EventLoop& loop;
  const HypervisorSettings& settings;
  ObserverRelay& observer;
  EventSink& events;
  CommandTable& commands;
  HmpTable& hmp;
  ObjectRegistry& objects;
  OptionTable& options;
  FdSets& fd_sets;
  // Assign to it: how refusals of the library are put into QEMU's words.
  ErrorRenderer& renderer;
};

// A part of the daemon that holds something which must be ended before the engine is.
class HypervisorPart {
 public:
  virtual ~HypervisorPart() = default;
  // Called in each turn from when an end is asked for until what runs then, a command or an option,
  // is over: lets go of whatever might hold it up without end, as break points and limits do.
  // Outside coroutines.
  virtual void Hurry() MILLRACE_OPENS_VIEW {}
  // Called once, after the last command: ends jobs, closes images. No command runs any more.
  virtual void CoShutdown() MILLRACE_MAY_SUSPEND = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_HYPERVISOR_HOST_H_
