#include "millrace/engine/engine.h"

#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/post_queue.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {

Engine::Engine() = default;

Engine::~Engine() {
  MILLRACE_CHECK(
      scheduler_ == nullptr || !scheduler_->has_invariant_checkers(),
      "engine destroyed while a graph or a job manager still refers to it; destroy those "
      "(or the BlockRuntime) first");
  // The backend may hold timers and completions that need the scheduler.
  io_.reset();
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const Options& options) {
  std::unique_ptr<Engine> engine(new Engine);
  if (options.simulated) {
    engine->clock_ = std::make_unique<SimulatedClock>();
  } else {
    engine->clock_ = std::make_unique<RealClock>();
  }
  engine->scheduler_ = std::make_unique<Scheduler>(
      *engine->clock_, options.simulated ? options.decider : nullptr, options.stacks);
  engine->posted_ = std::make_unique<PostQueue>();
  engine->silent_observer_ = std::make_unique<EngineObserver>();
  engine->observer_ = options.observer ? options.observer : engine->silent_observer_.get();
  engine->scheduler_->SetCounterObserver(options.observer);
  if (options.simulated) {
    auto simulated = std::make_unique<SimulatedIo>(*engine->scheduler_, options.disk);
    engine->simulated_io_ = simulated.get();
    engine->io_ = std::move(simulated);
  } else {
    MILLRACE_ASSIGN_OR_RETURN(engine->io_, CreateIoBackend(options.io, *engine->scheduler_));
  }
  engine->buffers_ = std::make_unique<BufferPool>(
      *engine->scheduler_, *engine->io_,
      options.simulated ? BufferPool::Limits{.slabs_max = 0} : BufferPool::Limits{});
  return engine;
}

size_t Engine::RunPosted() {
  if (!posted_->has_work()) return 0;
  Scheduler::DrivingScope driving(*scheduler_);
  return posted_->RunAll();
}

bool Engine::Turn(size_t budget) {
  size_t did = 0;
  {
    Scheduler::DrivingScope driving(*scheduler_);
    did += io_->Poll();
  }
  // Poll() may clear the bell that Post() rang, so what was posted is looked for after it.
  did += RunPosted();
  did += scheduler_->FireDueTimers();
  did += scheduler_->RunReady(budget);
  io_->Flush();
  return did > 0;
}

bool Engine::PollOnce(size_t budget) {
  if (simulated_io_ != nullptr) {
    for (; budget > 0; --budget) {
      const bool ran_posted = RunPosted() > 0;
      if (!scheduler_->RunOneStep() && !ran_posted) return false;
    }
    return true;
  }
  Turn(budget);
  return HasWork();
}

bool Engine::HasWork() const {
  return scheduler_->has_ready() || posted_->has_work() || scheduler_->NextTimer() <= clock_->Now();
}

int Engine::PollTimeoutMs() const {
  return HasWork() ? 0 : MillisecondsUntil(NextDeadline(), clock_->Now());
}

bool Engine::RunUntil(absl::FunctionRef<bool()> done) {
  constexpr size_t kStepsPerTurn = 1024;
  if (simulated_io_ != nullptr) {
    while (!done()) {
      // What posts itself again must not keep everybody else from running.
      const bool ran_posted = RunPosted() > 0;
      if (ran_posted && done()) break;
      if (!scheduler_->RunOneStep() && !ran_posted) return done();
    }
    return true;
  }
  while (!done()) {
    if (Turn(kStepsPerTurn) || scheduler_->has_ready() || posted_->has_work()) continue;
    const Nanoseconds deadline = scheduler_->NextTimer();
    io_->Block(deadline == kNever ? kNever : std::max<Nanoseconds>(deadline - clock_->Now(), 0));
  }
  return true;
}

bool Engine::IsDriverAtWork() const {
  if (Scheduler::Current() == scheduler_.get()) return true;
  return posted_->IsHomeThread() && looks_promised_ > 0;
}

void Engine::Post(absl::AnyInvocable<void()> function) {
  const auto pusher = IsDriverAtWork() ? PostQueue::Pusher::kDriver : PostQueue::Pusher::kAnybody;
  if (posted_->Push(std::move(function), pusher)) io_->Interrupt();
}

void Engine::Ring(Doorbell& bell) {
  const auto pusher = IsDriverAtWork() ? PostQueue::Pusher::kDriver : PostQueue::Pusher::kAnybody;
  if (posted_->Push(bell, pusher)) io_->Interrupt();
}

void Engine::Forget(Doorbell& bell) { posted_->Forget(bell); }

void Doorbell::Ring() {
  if (is_rung_.exchange(true, std::memory_order_acq_rel)) return;
  const std::lock_guard lock(mutex_);
  if (engine_ != nullptr) engine_->Ring(*this);
}

void Doorbell::Silence() {
  const std::lock_guard lock(mutex_);
  if (engine_ != nullptr) engine_->Forget(*this);
  engine_ = nullptr;
}

}  // namespace millrace
