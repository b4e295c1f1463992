// An NBD server's session over a disk in memory, in a simulated engine, with a client whose bytes
// the test cuts as it likes. One session at a time, or several of the same disk.
#ifndef MILLRACE_TESTS_EXAMPLES_HYPERVISOR_NBD_WORLD_H_
#define MILLRACE_TESTS_EXAMPLES_HYPERVISOR_NBD_WORLD_H_

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/nbd/export.h"
#include "examples/hypervisor/nbd/session.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace {

// Both directions of a connection.
struct NbdWire {
  std::string to_server;
  size_t read_bytes = 0;          // of it, by the server
  bool client_has_ended = false;  // sends no more
  bool is_broken = false;         // the client is gone
  std::string to_client;
  size_t room = SIZE_MAX;  // how much the client lets come yet
  bool is_shut = false;    // by the server
  // How many bytes of at most `max` move in one call; 0: "try again".
  std::function<size_t(size_t max)> cut = [](size_t max) { return max; };
};

class NbdWireStream final : public NbdStream {
 public:
  explicit NbdWireStream(NbdWire& wire) : wire_(wire) {}

  ssize_t Read(absl::Span<const iovec> pieces) override {
    if (wire_.is_broken) return -ECONNRESET;
    const size_t there = wire_.to_server.size() - wire_.read_bytes;
    if (there == 0) return wire_.client_has_ended ? 0 : -EAGAIN;
    size_t left = wire_.cut(std::min(there, Bytes(pieces)));
    if (left == 0) return -EAGAIN;
    const size_t count = left;
    for (const iovec& piece : pieces) {
      const size_t part = std::min(left, piece.iov_len);
      wire_.to_server.copy(static_cast<char*>(piece.iov_base), part, wire_.read_bytes);
      wire_.read_bytes += part;
      left -= part;
    }
    return static_cast<ssize_t>(count);
  }
  ssize_t Write(absl::Span<const iovec> pieces) override {
    if (wire_.is_broken) return -EPIPE;
    const size_t most = std::min(wire_.room, Bytes(pieces));
    size_t left = most == 0 ? 0 : wire_.cut(most);
    if (left == 0) return -EAGAIN;
    const size_t count = left;
    for (const iovec& piece : pieces) {
      const size_t part = std::min(left, piece.iov_len);
      wire_.to_client.append(static_cast<const char*>(piece.iov_base), part);
      left -= part;
    }
    if (wire_.room != SIZE_MAX) wire_.room -= count;
    return static_cast<ssize_t>(count);
  }
  void Shutdown() override { wire_.is_shut = true; }

 private:
  static size_t Bytes(absl::Span<const iovec> pieces) {
    size_t bytes = 0;
    for (const iovec& piece : pieces) bytes += piece.iov_len;
    return bytes;
  }
  NbdWire& wire_;
};

// What TLS does to the bytes of a connection, but for hiding them: they are taken in records, and
// what the reader has no room for stays here, where no poll() sees it.
class NbdRecordStream final : public NbdStream {
 public:
  explicit NbdRecordStream(std::unique_ptr<NbdStream> plain) : plain_(std::move(plain)) {}

  ssize_t Read(absl::Span<const iovec> pieces) override {
    if (!has_buffered()) {
      record_.resize(16 << 10);
      const iovec whole = {record_.data(), record_.size()};
      const ssize_t count = plain_->Read({&whole, 1});
      record_.resize(count > 0 ? static_cast<size_t>(count) : 0);
      given_ = 0;
      if (count <= 0) return count;
    }
    // Into the first piece only, as GnuTLS.
    const size_t part =
        record_.copy(static_cast<char*>(pieces[0].iov_base), pieces[0].iov_len, given_);
    given_ += part;
    return static_cast<ssize_t>(part);
  }
  ssize_t Write(absl::Span<const iovec> pieces) override { return plain_->Write(pieces); }
  void Shutdown() override { plain_->Shutdown(); }
  bool has_buffered() const override { return given_ < record_.size(); }

 private:
  const std::unique_ptr<NbdStream> plain_;
  std::string record_;
  size_t given_ = 0;
};

// Writes down what reaches the disk: "write 0+512 fua", "zero 512+512 keep", "flush".
class RecordingFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "recording"; }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    Note("write", ByteRange(offset, source.bytes()), flags.force_unit_access ? " fua" : "");
    return FilterDriver::CoWrite(offset, source, flags);
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    Note("zero", range, flags.may_unmap ? "" : " keep");
    return FilterDriver::CoWriteZeroes(range, flags);
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    Note("discard", range, "");
    return FilterDriver::CoDiscard(range);
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    operations.push_back("flush");
    return FilterDriver::CoFlush();
  }

  std::vector<std::string> operations;

 private:
  void Note(std::string_view what, ByteRange range, std::string_view how) {
    operations.push_back(StrCat(what, " ", range.offset, "+", range.bytes, how));
  }
};

// Wires outlive it.
class NbdWorld final : public NbdSessionHost {
 public:
  struct Settings {
    uint64_t disk_bytes = 64 << 10;
    bool is_writable = true;
    bool is_writethrough = false;
    bool tells_allocation_depth = false;
    Decider* decider = nullptr;
    Tls tls = Tls::kNone;
    uint64_t memory_bytes = uint64_t{1} << 30;
  };

  explicit NbdWorld(const Settings& settings)
      : settings_(settings),
        engine_(SimulatedEngine(settings.decider)),
        graph_(std::make_unique<Graph>(*engine_)),
        memory_(settings.memory_bytes) {
    Run([this]() MILLRACE_MAY_SUSPEND {
      const NodeId image = AddNodes();
      MILLRACE_CHECK(CoOpenNode(*graph_, image).ok(), "a disk in memory can be opened");
      MILLRACE_CHECK(CoOpenNode(*graph_, node_).ok(), "and a filter above it");
      MakeExport();
    });
  }
  NbdWorld() : NbdWorld(Settings()) {}
  ~NbdWorld() { End(); }

  // A client connects; the wire outlives the session.
  NbdSession& Connect(NbdWire& wire) {
    sessions_.push_back(
        std::make_unique<NbdSession>(*engine_, *this, std::make_unique<NbdWireStream>(wire)));
    wires_.push_back(&wire);
    sessions_.back()->Service();
    return *sessions_.back();
  }

  // Everything that can happen without time passing, as the event loop makes it happen: a session
  // is called only if its wire has what it says it waits for, or if it has said that it changed.
  void Pump() {
    for (int idle = 0; idle < kIdleTurns;) {
      const uint64_t before = Progress();
      ServeReady();
      Settle();
      for (NbdSession* session : std::exchange(changed_, {})) session->GoOn();
      idle = Progress() == before ? idle + 1 : 0;
    }
  }
  // The engine alone: requests under way are completed.
  void Settle() {
    while (engine_->HasWork() || engine_->io().in_flight() > 0) engine_->PollOnce(1);
  }
  // Lets time pass until the next timer has fired.
  void PassTime() {
    const Nanoseconds deadline = engine_->NextDeadline();
    while (engine_->clock().Now() < deadline && engine_->PollOnce(1)) {
    }
    Settle();
  }
  // Runs a coroutine to its end, sessions being served meanwhile.
  template <typename Body>
  void Run(Body&& body) {
    TaskScope scope(engine_->scheduler(), "test");
    scope.Spawn("test", std::forward<Body>(body));
    while (scope.live() > 0) {
      ServeReady();
      MILLRACE_CHECK(engine_->PollOnce(1) || scope.live() == 0, "the test's coroutine is stuck");
    }
    MILLRACE_CHECK(scope.Finish().ok(), "the test's coroutine failed");
  }

  void EndExport() {
    Run([this]() MILLRACE_MAY_SUSPEND { disk_->CoEnd(); });
  }
  // Cuts everybody off and takes the graph down.
  void End() {
    if (graph_ == nullptr) return;
    for (const std::unique_ptr<NbdSession>& session : sessions_) session->Close();
    Run([this]() MILLRACE_MAY_SUSPEND {
      disk_->CoEnd();
      keep_.CoDetach();
      graph_->CoClose();
    });
    Settle();
    for (const std::unique_ptr<NbdSession>& session : sessions_) {
      MILLRACE_CHECK(session->is_finished(), "a session goes on after its disk has ended");
    }
    changed_.clear();
    sessions_.clear();
    disk_.reset();
    MILLRACE_CHECK(memory_.taken() == 0, "buffers are still counted when all is over");
    graph_.reset();
  }

  Engine& engine() { return *engine_; }
  Graph& graph() { return *graph_; }
  NodeId node() const { return node_; }
  NbdExport& disk() { return *disk_; }
  Attachment& keep() { return keep_; }
  // What has reached the disk since the last call.
  std::vector<std::string> TakeOperations() { return std::exchange(filter_->operations, {}); }
  bool is_shutting_down_ = false;
  int tls_begun = 0;

  // ---- NbdSessionHost ----------------------------------------------------------------------------
  Tls tls() const override { return settings_.tls; }
  bool is_shutting_down() const override { return is_shutting_down_; }
  std::shared_ptr<NbdDisk> FindDisk(std::string_view name) const override {
    return name == disk_->name() ? disk_ : nullptr;
  }
  std::vector<std::shared_ptr<NbdDisk>> Disks() const override { return {disk_}; }
  absl::StatusOr<std::unique_ptr<NbdStream>> StartTls(std::unique_ptr<NbdStream> plain) override {
    ++tls_begun;
    return std::make_unique<NbdRecordStream>(std::move(plain));
  }
  void OnChanged(NbdSession& session) override {
    ++changes_;
    if (std::find(changed_.begin(), changed_.end(), &session) == changed_.end()) {
      changed_.push_back(&session);
    }
  }
  void OnMemoryGiven() override {
    for (const std::unique_ptr<NbdSession>& session : sessions_) {
      if (session->waits_for_memory()) OnChanged(*session);
    }
  }
  NbdMemoryBudget& memory() override { return memory_; }

 private:
  NodeId AddNodes() MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    const NodeId image = AddOverlay(change, "image", settings_.disk_bytes);
    auto filter = std::make_unique<RecordingFilter>();
    filter_ = filter.get();
    node_ = change.AddNode(std::move(filter), {.name = "disk"});
    change.AddChild(node_, Role::kFiltered, image);
    AttachmentOptions options;
    options.holder = MakeHolder("monitor", "monitor");
    options.purpose = "keep";
    options.stays_at_node = true;
    keep_ = change.Attach(node_, std::move(options));
    MILLRACE_CHECK(change.Commit().ok(), "first nodes are always accepted");
    return image;
  }
  void MakeExport() MILLRACE_OPENS_VIEW {
    NbdExportOptions options;
    options.id = options.name = "disk";
    options.is_writable = settings_.is_writable;
    options.is_writethrough = settings_.is_writethrough;
    options.tells_allocation_depth = settings_.tells_allocation_depth;
    disk_ = *NbdExport::Create(*graph_, node_, std::move(options));
  }
  // What poll() would report.
  void ServeReady() {
    for (size_t i = 0; i < sessions_.size(); ++i) {
      NbdSession& session = *sessions_[i];
      const NbdWire& wire = *wires_[i];
      const bool is_over = wire.is_broken || wire.is_shut;
      const bool is_readable =
          is_over || wire.client_has_ended || wire.read_bytes < wire.to_server.size();
      const bool is_writable = is_over || wire.room > 0;
      if ((session.wants_read() && is_readable) || (session.wants_write() && is_writable)) {
        session.Service();
      }
    }
  }
  // Grows with everything that happens.
  uint64_t Progress() const {
    uint64_t sum = engine_->scheduler().steps() + changes_;
    for (const NbdWire* wire : wires_) sum += wire->read_bytes + wire->to_client.size();
    return sum;
  }

  // A wire may say "try again" now and then.
  static constexpr int kIdleTurns = 8;

  const Settings settings_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Graph> graph_;
  NodeId node_;
  RecordingFilter* filter_ = nullptr;  // the node's
  Attachment keep_;
  std::shared_ptr<NbdExport> disk_;
  NbdMemoryBudget memory_;
  std::vector<std::unique_ptr<NbdSession>> sessions_;
  std::vector<const NbdWire*> wires_;
  std::vector<NbdSession*> changed_;  // to be told to go on
  uint64_t changes_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_EXAMPLES_HYPERVISOR_NBD_WORLD_H_
